"""What is trained, how long, and at which rates."""

import dataclasses

MOST_NATS = 30.0
"""A rate is not chosen whose policy is further from its start than this, by
the mean log-ratio of logged held-out completions, chosen or rejected."""

LORA, FULL = "LoRA", "full"
RANK = 8
WARMUP = 3


@dataclasses.dataclass(frozen=True)
class Method:
  """A method of the suite.

  Attributes:
    name: on the page.
    loss: by spec.
    pairs: whether it reads pairs; else it reads single completions.
  """

  name: str
  loss: str
  pairs: bool = False


METHODS = (
  Method("KTO", "kto(beta=0.1)"),
  Method("DRO-V", "dro_v(tau=0.1)"),
  Method("DPO", "dpo(beta=0.1)", pairs=True),
)


@dataclasses.dataclass(frozen=True)
class Cell:
  """A method with what it trains.

  Attributes:
    method: the method.
    weights: `LORA` or `FULL`.
  """

  method: Method
  weights: str

  @property
  def label(self) -> str:
    """Its name in rows and tables."""
    return f"{self.method.name}, {self.weights}"

  @property
  def name(self) -> str:
    """The same for files."""
    return f"{self.method.name}-{self.weights}".lower().replace("-v", "v")


CELLS = tuple(
  Cell(method, weights) for weights in (LORA, FULL) for method in METHODS
)


@dataclasses.dataclass(frozen=True)
class Sizes:
  """Sizes of the suite.

  Attributes:
    openings: of the log.
    samples: completions of each in the log.
    validation: openings that choose the rate.
    test: openings that the report is about.
    tokens: of a completion at most.
    steps: updates of a run.
    batch: completions in an update; pairs count two.
    eval_rows: logged held-out rows, of which log-ratios are taken.
    kl: test openings whose completions the KL is estimated from.
    reloaded: completions that `transformers` scores too.
    seeds: runs of each cell.
    lora: rates of LoRA, from which one is chosen.
    full: rates of all weights.
    value: the rate of DRO-V's value, everywhere.
    words: whether the model writes words; else vowels are what scores.
  """

  openings: int = 104
  samples: int = 4
  validation: int = 36
  test: int = 100
  tokens: int = 20
  steps: int = 20
  batch: int = 8
  eval_rows: int = 24
  kl: int = 48
  reloaded: int = 8
  seeds: int = 3
  lora: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
  full: tuple[float, ...] = (1e-5, 3e-5, 1e-4)
  value: float = 1e-4
  words: bool = True

  def rates(self, cell: Cell) -> tuple[float, ...]:
    """The rates that are swept."""
    return self.lora if cell.weights == LORA else self.full


TINY = Sizes(
  openings=6,
  samples=2,
  validation=2,
  test=6,
  tokens=6,
  steps=2,
  batch=4,
  eval_rows=4,
  kl=2,
  reloaded=2,
  seeds=2,
  lora=(1e-3,),
  full=(1e-4, 1e-3),
  words=False,
)
"""For tests, with random weights."""
