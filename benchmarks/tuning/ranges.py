"""What is tuned, and between what: one line of the board for each method.

Every method draws its learning rate, and the options of its own that its
paper tunes, from ranges stated here. A loss that has no entry draws the option
that scales its log-ratio, so a newly registered loss is tuned without an edit.
"""

import dataclasses
import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks import methods
from benchmarks.methods import Method
from offalign import losses
from offalign.errors import UserError, suggest
from offalign.learner.value import ValueConfig


@dataclasses.dataclass(frozen=True)
class Log:
  """Log-uniform between two bounds above 0."""

  low: float
  high: float

  def draw(self, rng: np.random.Generator) -> float:
    """One value, to three digits."""
    power = rng.uniform(math.log(self.low), math.log(self.high))
    return float(f"{math.exp(power):.3g}")

  def __str__(self) -> str:
    return f"{self.low:g} to {self.high:g}, log-uniform"


@dataclasses.dataclass(frozen=True)
class Uniform:
  """Uniform between two bounds."""

  low: float
  high: float

  def draw(self, rng: np.random.Generator) -> float:
    """One value, to three digits."""
    return float(f"{rng.uniform(self.low, self.high):.3g}")

  def __str__(self) -> str:
    return f"{self.low:g} to {self.high:g}, uniform"


@dataclasses.dataclass(frozen=True)
class OneOf:
  """Each of a few values, equally often."""

  values: tuple[float, ...]

  def draw(self, rng: np.random.Generator) -> float:
    """One of the values."""
    return float(rng.choice(self.values))

  def __str__(self) -> str:
    return f"one of {', '.join(f'{value:g}' for value in self.values)}"


Range = Log | Uniform | OneOf

LEARNING_RATE = Log(1e-4, 2e-3)
"""About half a decade below and a whole one above the track's shared 3e-4."""

VALUE_TIMES = OneOf((1.0, 3.0, 10.0))
"""The value's learning rate, as a multiple of the policy's."""

STRENGTH = Log(0.01, 10.0)
"""The option that scales the log-ratio of a completion; three decades."""

STRENGTH_PER_TOKEN = Log(0.1, 100.0)
"""Likewise where the log-ratio is a mean over tokens, about ten of them."""

OPTIONS: Mapping[str, Mapping[str, Range]] = {
  "alphapo": {
    "beta": STRENGTH_PER_TOKEN,
    "alpha": Uniform(0.05, 0.5),
    "gamma": Uniform(0.0, 1.0),
  },
  "cdpo": {"beta": STRENGTH, "label_smoothing": Uniform(0.0, 0.3)},
  "cpo": {"beta": STRENGTH, "sft_weight": Log(0.01, 1.0)},
  "discopop": {"beta": STRENGTH, "tau": Log(0.01, 1.0)},
  "exo_pair": {"beta": STRENGTH, "label_smoothing": Log(1e-4, 0.1)},
  "grpo": {"beta": Log(1e-3, 1.0)},
  "ld_dpo": {"beta": STRENGTH, "alpha": Uniform(0.0, 1.0)},
  "ppo": {"kl_coef": Log(1e-3, 1.0)},
  "rebel": {"eta": Log(0.1, 100.0)},  # 1 / tau
  "rloo": {"beta": Log(1e-3, 1.0)},
  "robust_dpo": {"beta": STRENGTH, "label_smoothing": Uniform(0.0, 0.3)},
  "sft": {},
  "simpo": {
    "beta": STRENGTH_PER_TOKEN,
    "gamma_beta_ratio": Uniform(0.0, 1.0),
  },
  "slic_hf": {"delta": Log(0.1, 10.0), "sft_weight": Log(0.01, 1.0)},
}


@dataclasses.dataclass(frozen=True)
class Line:
  """A line of the board: a loss, and what is not drawn.

  Attributes:
    name: on the board.
    loss: loss name.
    fixed: options that make the line what it is, such as KTO's threshold.
    value: a value function other than the default.
  """

  name: str
  loss: str
  fixed: tuple[tuple[str, object], ...] = ()
  value: ValueConfig | None = None

  @property
  def spec(self) -> str:
    """The loss spec with the fixed options alone."""
    return str(losses.get(self.loss, **dict(self.fixed)))

  def ranges(self) -> dict[str, Range]:
    """Option, or `learning_rate` and `value_times` -> what it is drawn from."""
    loss = losses.get(self.loss, **dict(self.fixed))
    own = OPTIONS.get(self.loss)
    if own is None:
      scale = loss.definition.scale
      strength = STRENGTH_PER_TOKEN if loss.average else STRENGTH
      own = {scale: strength} if isinstance(scale, str) else {}
    times = {"value_times": VALUE_TIMES} if loss.needs_value else {}
    return {**own, "learning_rate": LEARNING_RATE, **times}

  def draws(self, count: int) -> list[Method]:
    """The line's random draws: the first k of more are the same.

    Args:
      count: >= 1.
    """
    rng = np.random.default_rng(zlib.crc32(f"tuning {self.name}".encode()))
    found = []
    for _ in range(count):
      drawn = {key: a.draw(rng) for key, a in self.ranges().items()}
      rate = drawn.pop("learning_rate")
      times = drawn.pop("value_times", None)
      loss = losses.get(self.loss, **dict(self.fixed), **drawn)
      found.append(
        Method(
          str(loss),
          self.name,
          learning_rate=rate,
          value_learning_rate=times and float(f"{times * rate:.3g}"),
          value=self.value,
        )
      )
    return found


_SEVERAL = {
  "kto": (
    Line("kto, batch threshold", "kto", (("threshold", "batch"),)),
    Line("kto, prompt threshold", "kto", (("threshold", "prompt"),)),
  ),
  "sft": (Line("sft on desirable", "sft", (("on", "desirable"),)),),
  "dro_v": (
    Line("dro_v", "dro_v"),
    Line("dro_v, one V", "dro_v", value=ValueConfig(per="batch")),
    Line("dro_v, shared network", "dro_v", value=ValueConfig(network="shared")),
    Line("dro_v, encoder's V", "dro_v", value=ValueConfig(network="encoder")),
  ),
}
"""Losses that stand on the board in more forms than one, or not as they are."""


def lines(models: Sequence[str] = ("t5",)) -> list[Line]:
  """A line for every registered loss that trains a policy.

  Args:
    models: the boards' families; a line that one of them cannot run is left
      out.
  """
  found: list[Line] = []
  for name in losses.names():
    if methods.why_not(name) is None:
      found += _SEVERAL.get(name, (Line(name, name),))
  if "decoder" in models:
    found = [line for line in found if not methods.needs_encoder(line.value)]
  return found


def choose(wanted: str, models: Sequence[str]) -> list[Line]:
  """Lines by name or by loss, separated by semicolons or commas.

  Args:
    wanted: "" or "all" is every line; commas within a line's own name stand.
    models: the boards' families.

  Raises:
    UserError: for what is neither.
  """
  every = lines(models)
  if wanted in ("", "all"):
    return every
  names = {line.name for line in every}
  pieces = [piece.strip() for piece in wanted.split(",") if piece.strip()]
  chosen: list[Line] = []
  while pieces:
    piece = pieces.pop(0)
    if pieces and f"{piece}, {pieces[0]}" in names:
      piece = f"{piece}, {pieces.pop(0)}"
    found = [x for x in every if x.name == piece] or [
      x for x in every if x.loss == piece
    ]
    if not found:
      known = sorted(names | {x.loss for x in every})
      raise UserError(
        f"--methods names {piece!r}, which is no line of the tuned board"
        f"{suggest(piece, known)}; with --tune, options are drawn and not given"
      )
    chosen += [line for line in found if line not in chosen]
  return chosen
