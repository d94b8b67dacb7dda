"""Which engine samples, and how it is asked: what is known without a call."""

import dataclasses
import typing
from typing import Literal

from offalign import spec as spec_lib
from offalign.endpoints import address
from offalign.errors import UserError, suggest

NAME = "endpoint"
KEY = "OFFALIGN_SAMPLER_KEY"
_WHO = f"sampler {NAME!r}"


@dataclasses.dataclass(frozen=True)
class Engine:
  """An engine that samples, such as vLLM or SGLang, and how it is asked.

  Attributes:
    url: of the API, such as http://localhost:8000/v1; what lies on another
      machine must be https.
    model: as the engine names it. It has to have this policy's tokenizer,
      since prompts go there as token ids.
    logprobs: what the engine's log-probs are of: "raw", the model's own, at
      temperature 1 and over all tokens; or "processed", of the distribution
      that tokens are drawn from, with temperature, top_k and top_p.
    key_env: the environment variable that holds the key. It is read when the
      engine is first asked, sent to `url`, and shown nowhere.
    workers: calls at a time; each is of one prompt.
    timeout: seconds that a call may take.
    retries: further calls where one fails.
    max_calls: HTTP calls, retries included, after which no more are made.
    max_bytes: of an answer.
    cache: a file of answers, so that none is asked for twice.
    allow_http: lets the key and the texts go unencrypted to another machine.
  """

  url: str = ""
  model: str = ""
  logprobs: Literal["raw", "processed"] = "raw"
  key_env: str = KEY
  workers: int = 8
  timeout: float = 600.0
  retries: int = 5
  max_calls: int | None = None
  max_bytes: int = 64 << 20
  cache: str | None = None
  allow_http: bool = False

  def __post_init__(self) -> None:
    """Checks all that can be without a call.

    Raises:
      UserError: naming the option.
    """
    if not self.url or not self.model:
      raise UserError(
        f"{_WHO} needs a url and a model: write it like "
        "endpoint(url='http://localhost:8000/v1', model='NAME')"
      )
    least = {"workers": 1, "retries": 0, "max_calls": 0, "max_bytes": 1}
    for name, low in least.items():
      value = getattr(self, name)
      if value is not None and value < low:
        raise UserError(f"{_WHO}: {name} must be at least {low}, not {value}")
    if not self.timeout > 0:
      raise UserError(f"{_WHO}: timeout must be above 0, not {self.timeout}")
    address.check(_WHO, self.url, self.key_env, allow_http=self.allow_http)

  @property
  def target(self) -> str:
    """Where calls go."""
    return address.target(self.url, "/completions")


def parse(text: str) -> Engine:
  """Reads a spec such as "endpoint(url='http://...', model='NAME')".

  Raises:
    UserError: where it names nothing, or an option is out of range.
  """
  name, given = spec_lib.parse(text, "sampler")
  if name != NAME:
    raise UserError(
      f"there is no sampler {name!r}{suggest(name, [NAME])} (there is: {NAME}; "
      "without one, the policy samples by itself)"
    )
  chosen = spec_lib.choose(
    _WHO,
    {field.name: field.default for field in dataclasses.fields(Engine)},
    typing.get_type_hints(Engine),
    given,
  )
  return Engine(**chosen)
