"""Which endpoint is asked, and how: what can be checked without a call."""

import dataclasses

from offalign import spec
from offalign.endpoints import address
from offalign.errors import UserError

KEY = "OFFALIGN_JUDGE_KEY"


@dataclasses.dataclass(frozen=True)
class Endpoint:
  """Which model is asked, and how.

  Attributes:
    url: of the API, such as https://api.openai.com/v1 or
      http://localhost:8000/v1; what lies on another machine must be https.
    model: as the endpoint names it.
    key_env: the environment variable that holds the key. It is read when the
      judge is made, sent to `url`, and shown nowhere.
    max_calls: HTTP calls, retries included, after which no more are made.
    workers: calls at a time.
    timeout: seconds that a call may take.
    retries: further calls where one fails.
    max_tokens: of an answer.
    reasoning: for models that think before they answer: `max_tokens` is sent
      as max_completion_tokens, and no temperature, which they refuse. Their
      thoughts count, so raise `max_tokens`.
    template: a file with another question; see `prompt.load`.
    rubric: in place of comparing, have each completion rated by itself:
      "default", or a file with the question; see `rubric.load`.
    lowest: of the numbers that a rubric asks for; None = 1.
    highest: likewise; None = 10.
    cache: the file of answers.
    allow_http: lets the key and the texts go unencrypted to another machine.
  """

  url: str = ""
  model: str = ""
  key_env: str = KEY
  max_calls: int | None = None
  workers: int = 4
  timeout: float = 60.0
  retries: int = 5
  max_tokens: int = 64
  reasoning: bool = False
  template: str | None = None
  rubric: str | None = None
  lowest: float | None = None
  highest: float | None = None
  cache: str | None = None
  allow_http: bool = False

  def __post_init__(self) -> None:
    """Checks all that can be without a call.

    Raises:
      UserError: naming the option.
    """
    if not self.url or not self.model:
      raise UserError(
        "judge 'endpoint' needs a url and a model: write it like "
        "endpoint(url='http://localhost:8000/v1', model='NAME')"
      )
    for name, least in (
      ("workers", 1),
      ("max_tokens", 1),
      ("retries", 0),
      ("max_calls", 0),
    ):
      value = getattr(self, name)
      if value is not None and value < least:
        raise UserError(
          f"judge 'endpoint': {name} must be at least {least}, not {value}"
        )
    if not self.timeout > 0:
      raise UserError(
        f"judge 'endpoint': timeout must be above 0, not {self.timeout}"
      )
    self._check_rubric()
    address.check(
      "judge 'endpoint'", self.url, self.key_env, allow_http=self.allow_http
    )

  def _check_rubric(self) -> None:
    if self.rubric is None:
      for name in ("lowest", "highest"):
        if getattr(self, name) is not None:
          raise UserError(
            f"judge 'endpoint': {name} is of a rubric's numbers, and no rubric "
            "is given; say rubric=default, or leave it out"
          )
    elif not self.rubric:
      raise UserError(
        "judge 'endpoint': rubric is empty; say rubric=default, or name a file"
      )
    elif self.template is not None:
      raise UserError(
        "judge 'endpoint': template asks which of two completions is better, "
        "and rubric rates each by itself; leave one of them out"
      )
    low, high = self.scale
    if not low < high:
      raise UserError(
        f"judge 'endpoint': lowest ({low:g}) must be below highest ({high:g})"
      )

  @property
  def scale(self) -> tuple[float, float]:
    """The lowest and the highest number of a rubric."""
    return (
      1.0 if self.lowest is None else self.lowest,
      10.0 if self.highest is None else self.highest,
    )

  @property
  def spec(self) -> str:
    """What it is, as `judges.make` reads it."""
    chosen = {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
      if getattr(self, field.name) != field.default
    }
    return spec.unparse("endpoint", chosen)

  @property
  def is_local(self) -> bool:
    """Whether it is on this machine."""
    return address.is_local(self.url)

  @property
  def target(self) -> str:
    """Where calls go."""
    return address.target(self.url, "/chat/completions")
