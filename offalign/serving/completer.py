"""Complete requests with a policy."""

from collections.abc import Iterator

from offalign.errors import UserError
from offalign.generation.completions import Prompt
from offalign.generation.streaming import Piece
from offalign.policy.policy import Policy
from offalign.serving.requests import Request


class PolicyCompleter:
  """Completes requests with a policy; one at a time, see `app.Completer`."""

  def __init__(self, policy: Policy, max_new_tokens: int | None = None):
    """Takes the policy.

    Args:
      policy: a policy.
      max_new_tokens: most tokens of a completion, and the default; default:
        that of the policy, see `Policy.generate`.
    """
    self._policy = policy
    self._most = max_new_tokens

  def warm_up(self) -> None:
    """Loads the weights and compiles, so that the first answer comes soon.

    Raises:
      UserError: where the weights cannot be read.
    """
    hi = self._asked((("user", "Hi"),))
    for temperature in (0.0, 1.0):
      streamed = self._policy.stream(
        hi, max_new_tokens=1, temperature=temperature
      )
      list(streamed.pieces)

  def start(self, request: Request) -> tuple[int, Iterator[Piece]]:
    """See `app.Completer`."""
    asked = request.max_new_tokens
    if self._most is not None:
      asked = self._most if asked is None else min(asked, self._most)
    streamed = self._policy.stream(
      self._asked(request.prompt),
      max_new_tokens=asked,
      temperature=request.temperature,
      top_p=request.top_p,
      seed=request.seed,
    )
    return streamed.prompt_tokens, streamed.pieces

  def _asked(self, prompt: Prompt) -> Prompt:
    """The prompt as the policy was trained on it."""
    if self._policy.chats or isinstance(prompt, str):
      return prompt
    if len(prompt) == 1 and prompt[0][0] == "user":
      return str(prompt[0][1])
    raise UserError(
      "this policy was trained on plain text, and completes one message of the "
      "user: send that alone, without a system message and earlier turns"
    )
