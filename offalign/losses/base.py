"""Loss definitions, and the loss objects made from them by options.

Above 300 lines, since `Definition` and the `Loss` that it makes are two sides
of one contract.
"""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from offalign import spec
from offalign.errors import UserError, suggest
from offalign.losses import metrics
from offalign.types import COLUMNS, Array, Kind, LossOutput, Scores

Options = Mapping[str, Any]
LossFn = Callable[..., Array | LossOutput]
Pushes = tuple[int, int] | None


class State(NamedTuple):
  """State that a loss carries from step to step, such as a running mean.

  The learner keeps the state in the train state, checkpoints it, and updates
  it before each step from the scores of the global batch, whatever the
  accumulation or mesh. Evaluation reads the state and does not update it.

  Attributes:
    init: () -> a dict of scalars.
    update: (scores of the global batch, state, options) -> state; `scores`
      has the columns that the loss declares, and `weight`.
  """

  init: Callable[[], dict[str, Array]]
  update: Callable[[Scores, dict[str, Array], Options], dict[str, Array]]


@dataclasses.dataclass(frozen=True)
class Definition:
  """A registered loss before its options are chosen.

  Attributes:
    name: the loss's name in `get` and in flags.
    fn: `fn(scores, *, option=default, ...)` -> [B] or `LossOutput`.
    kind: the kind of feedback, or a function of the options.
    needs: the columns of `Scores` that `fn` reads besides `logps`, or a
      function of the options.
    whole_batch: True where the loss of one row depends on the scores of
      others beyond the declared means (a sort, a rank); the learner then
      evaluates it on the global batch whatever the accumulation; or a
      function of the options.
    scale: the option that turns a log-ratio into the implicit reward that is
      logged, or a function of the options.
    average: True where implicit rewards use per-token means (SimPO, ORPO),
      or a function of the options.
    positive: options that must be > 0.
    check: further conditions on the options; returns what is wrong, or None.
    pushes: signs of a step from the reference on the (better, worse)
      completion, where they are not the usual (1, -1); or a function of the
      options.
    on_pairs: options, as (name, value), under which a loss of single
      completions takes pairs, so that it can be added to a loss on pairs;
      None where there are none.
    rewards: True where the loss trains a reward model in place of a policy;
      its rewards are `values` [B, K], which see the completion.
    state: state kept between steps, as `scores.state`; or None.
    paper: the paper that the loss comes from.
    when: when to use the loss, in a sentence or two.
    formula: one line of LaTeX.
  """

  name: str
  fn: LossFn
  kind: Kind | Callable[[Options], Kind]
  needs: tuple[str, ...] | Callable[[Options], tuple[str, ...]]
  whole_batch: bool | Callable[[Options], bool]
  scale: str | Callable[[Options], float]
  average: bool | Callable[[Options], bool]
  positive: tuple[str, ...]
  check: Callable[[Options], str | None] | None
  pushes: Pushes | Callable[[Options], Pushes]
  on_pairs: tuple[tuple[str, Any], ...] | None
  rewards: bool
  state: State | None
  paper: str
  when: str
  formula: str

  @property
  def defaults(self) -> dict[str, Any]:
    """Option name -> default, in the order of the signature."""
    parameters = inspect.signature(self.fn).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

  def bind(self, options: Options) -> "Loss":
    """Checks options and returns the loss object.

    Raises:
      UserError: for an unknown option, a wrong type or a value out of range.
    """
    chosen = spec.choose(
      f"loss {self.name!r}",
      self.defaults,
      typing.get_type_hints(self.fn),
      options,
    )
    for name in self.positive:
      if not chosen[name] > 0:
        raise UserError(
          f"loss {self.name!r}: {name} must be above 0, not {chosen[name]}"
        )
    problem = self.check(chosen) if self.check else None
    if problem:
      raise UserError(f"loss {self.name!r}: {problem}")
    return Loss(self, tuple(chosen.items()))


@dataclasses.dataclass(frozen=True)
class Loss:
  """A loss with its options chosen: hashable, pure, and printable.

  Calling it maps `Scores` to an unreduced `LossOutput`. `str(loss)` is its
  spec string.

  Attributes:
    definition: what was registered.
    items: (option, value) of all options, in the order of the signature.
    module: the module that the spec named before the loss, as in
      `my_losses:huber`; "" for none.
  """

  definition: Definition
  items: tuple[tuple[str, Any], ...]
  module: str = dataclasses.field(default="", compare=False)

  @property
  def name(self) -> str:
    """The registered name."""
    return self.definition.name

  @property
  def options(self) -> dict[str, Any]:
    """All options, defaults included."""
    return dict(self.items)

  @property
  def kind(self) -> Kind:
    """The feedback this loss takes."""
    kind = self.definition.kind
    return kind if isinstance(kind, Kind) else kind(self.options)

  @property
  def needs(self) -> tuple[str, ...]:
    """The columns of `Scores` that the loss reads besides `logps`."""
    needs = self.definition.needs
    return needs if isinstance(needs, tuple) else needs(self.options)

  @property
  def needs_value(self) -> bool:
    """Whether the loss has a value function, of prompts or of tokens."""
    return bool({"values", "token_values"} & set(self.needs))

  @property
  def has_reference(self) -> bool:
    """Whether implicit rewards are log-ratios to a reference."""
    needs = set(self.needs)
    return "ref_logps" in needs or needs >= metrics.BY_TOKEN

  @property
  def runs_reference(self) -> bool:
    """Whether each step runs the reference, beside what is stored of it."""
    return "token_kls" in self.needs

  @property
  def whole_batch(self) -> bool:
    """Whether the loss must see the scores of the global batch at once."""
    found = self.definition.whole_batch
    return found if isinstance(found, bool) else found(self.options)

  @property
  def scale(self) -> float:
    """The factor that turns a log-ratio into the logged reward."""
    scale = self.definition.scale
    found: Any = (
      self.options[scale] if isinstance(scale, str) else scale(self.options)
    )
    # Of `of_numbers` inside jit, a scalar array.
    return found if hasattr(found, "dtype") else float(found)

  @property
  def average(self) -> bool:
    """Whether the implicit reward is a per-token mean."""
    average = self.definition.average
    return average if isinstance(average, bool) else average(self.options)

  @property
  def pushes(self) -> Pushes:
    """Signs of the first step on (better, worse); None for the usual."""
    pushes = self.definition.pushes
    return pushes(self.options) if callable(pushes) else pushes

  @property
  def trains_rewards(self) -> bool:
    """Whether the loss trains a reward model and not a policy."""
    return self.definition.rewards

  @property
  def has_state(self) -> bool:
    """Whether the loss keeps state from step to step."""
    return self.definition.state is not None

  @property
  def numbers(self) -> dict[str, float]:
    """The options that are real numbers, which `of_numbers` can replace."""
    return {k: v for k, v in self.items if type(v) is float}

  def of_numbers(self, numbers: Mapping[str, float | Array]) -> "Loss":
    """The same loss with some numbers replaced, unchecked, for use inside jit.

    One compiled step then serves every value of tau or beta. A loss whose
    columns or terms depend on a number, such as `grpo` at beta = 0, raises
    jax's ConcretizationTypeError when it is given a traced one.

    Args:
      numbers: option -> scalar array, of those in `numbers`.

    Raises:
      UserError: for an option that is not one of them.
    """
    for name in numbers:
      if name not in self.numbers:
        raise UserError(f"loss {self.name!r} has no number {name!r} to replace")
    items = tuple((k, numbers.get(k, v)) for k, v in self.items)
    return dataclasses.replace(self, items=items)

  def init_state(self) -> dict[str, Any]:
    """The state before the first step; {} for a loss without state."""
    return self.definition.state.init() if self.definition.state else {}

  def update_state(self, scores: Scores, state: Any) -> Any:
    """Updates the state by the scores of a global batch.

    Args:
      scores: the columns in `needs`, `logps` and `weight`.
      state: from `init_state` or from the step before.
    """
    if self.definition.state is None:
      return state
    columns = scores.columns.items()
    fixed = Scores({k: _raise_precision(v) for k, v in columns if k != "state"})
    new = self.definition.state.update(fixed, state, self.options)
    return jax.lax.stop_gradient(new)

  def __str__(self) -> str:
    defaults = self.definition.defaults
    changed = {k: v for k, v in self.items if v != defaults[k]}
    module = f"{self.module}:" if self.module else ""
    return spec.unparse(module + self.name, changed)

  def __repr__(self) -> str:
    return f"offalign.losses.get({str(self)!r})"

  def implicit_rewards(self, scores: Scores) -> Array:
    """The rewards that this loss implies, scale * log-ratio, [B, K].

    A loss without a reference uses log-probs in place of log-ratios; one
    that averages over tokens divides by the length. Carries no gradient.
    """
    return metrics.implicit_rewards(scores, self.scale, self.average)

  def __call__(self, scores: Scores) -> LossOutput:
    """Evaluates the loss.

    Args:
      scores: at least the columns in `needs`; the others are hidden from the
        loss. Columns of lower precision than float32 are raised to it.

    Returns:
      `values` [B] and the metrics, named as TRL names them.

    Raises:
      UndeclaredInput: where the loss reads what it did not declare.
      UserError: where K is not what its kind of feedback takes.
    """
    self._check_completions(scores.logps.shape)
    seen = {
      name: _raise_precision(column)
      for name, column in scores.columns.items()
      if name == "logps" or name in self.needs
    }
    if self.has_state:
      state = scores.columns.get("state") or self.init_state()
      seen["state"] = jax.tree.map(jax.lax.stop_gradient, state)
    visible = Scores(seen)
    output = self.definition.fn(visible, **self.options)
    if not isinstance(output, LossOutput):
      output = LossOutput(values=output)
    common = metrics.standard(
      self.kind, visible, self.implicit_rewards(visible)
    )
    merged = {**common, **output.metrics}
    return dataclasses.replace(output, metrics=merged)

  def _check_completions(self, shape: tuple[int, ...]) -> None:
    """Checks K; array indexing would silently clamp a missing completion."""
    k = shape[1] if len(shape) == 2 else 0
    if self.kind is Kind.PAIR and k != 2:
      wanted = "pairs: logps must be [B, 2]"
    elif self.kind is Kind.GROUP and k < 2:
      wanted = "completions of one prompt: logps must be [B, K], K >= 2"
    elif k < 1:
      wanted = "single completions: logps must be [B, K]"
    else:
      return
    raise UserError(f"loss {str(self)!r} takes {wanted}, not {list(shape)}")


def _raise_precision(column: Array) -> Array:
  column = jnp.asarray(column)
  if not jnp.issubdtype(column.dtype, jnp.floating):
    return column
  narrow = jnp.finfo(column.dtype).bits < 32
  return column.astype(jnp.float32) if narrow else column


def check_options(definition: Definition) -> None:
  """Raises ValueError unless fn is `fn(scores, *, option: type = default)`.

  Also where `positive` or `scale` names an option that fn does not have.
  """
  where = f"loss {definition.name!r}"
  _, *parameters = inspect.signature(definition.fn).parameters.values()
  for p in parameters:
    if p.kind is not p.KEYWORD_ONLY:
      raise ValueError(f"{where}: parameter {p.name!r} is not keyword-only")
    if p.default is p.empty:
      raise ValueError(f"{where}: option {p.name!r} has no default")
    if p.annotation is p.empty:
      raise ValueError(f"{where}: option {p.name!r} has no type")
  scale = (definition.scale,) if isinstance(definition.scale, str) else ()
  for option in (*definition.positive, *scale):
    if option not in definition.defaults:
      raise ValueError(f"{where} has no option {option!r}")


def check_needs(name: str, needs: tuple[str, ...]) -> None:
  """Raises ValueError for a column that does not exist."""
  for need in needs:
    if need not in COLUMNS:
      raise ValueError(
        f"loss {name!r} needs {need!r}, which is not a column of Scores"
        f"{suggest(need, COLUMNS)} (columns: {', '.join(COLUMNS)})"
      )
