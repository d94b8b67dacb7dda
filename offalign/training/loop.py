"""The loop of a run: steps, lines of metrics, evaluations, checkpoints."""

import contextlib
import dataclasses
import itertools
from typing import Any

import jax
import numpy as np

from offalign.config import Config
from offalign.data import TokenRows
from offalign.distributed import sharding
from offalign.distributed.signals import Stop, Stopped
from offalign.errors import UserError, marked
from offalign.learner import Learner, TrainState
from offalign.policy.best import Best
from offalign.policy.checkpoint import Checkpoints
from offalign.training.auc import Auc
from offalign.training.cost import Cost
from offalign.training.demonstrations import Demonstrations
from offalign.training.evaluation import evaluate, thumbs
from offalign.training.health import Health
from offalign.training.logs import Logs, describe, mean_of
from offalign.training.metrics import check_finite, finish
from offalign.training.own_samples import OwnSamples
from offalign.training.prefetch import Prefetch
from offalign.training.profile import Profile
from offalign.training.rounds.base import Round, Rounds, Unscored
from offalign.training.rounds.stopping import Stopping
from offalign.training.selection import Selection, Unjudged
from offalign.types import Batch, Params


@dataclasses.dataclass(frozen=True)
class _Drawn:
  """A step's batch, on the devices; `picked` and `tokens` are of its rows.

  `rate` is the learning rate where the step has a line of metrics, else None:
  computed ahead like the batch, since where a CPU is the device it waits for
  the step that runs. `demonstrations` are its rows of a second source, counted
  in `tokens`.
  """

  picked: np.ndarray
  tokens: int
  batch: Batch
  rate: float | None
  demonstrations: Batch | None


@dataclasses.dataclass(frozen=True)
class _Made:
  """A step that was begun, whose metrics are not looked at yet."""

  step: int
  of: Round
  drawn: _Drawn
  metrics: Any


@dataclasses.dataclass
class Loop:
  """Trains from one step to the last.

  A step depends on the state, its number and `window` alone, so that a loop
  that resumes from a checkpoint computes and logs, to the bit, what one that
  was never stopped does.

  The devices do not wait for the host: a thread makes the next batches, and
  the metrics of a step are looked at when the next one is under way, or before
  anything that is to come after them: an evaluation, a checkpoint, a round.

  Attributes:
    config: the flags.
    learner: the learner.
    rounds: what rows a step has, and the rows to evaluate on.
    ref: the frozen weights, where the learner has them.
    reference: those of the learner's `reference`, where it has one.
    demonstrations: which are imitated beside the rows; None = none.
    checkpoints: where states are saved.
    logs: where metrics are written.
    about: the run.json, saved beside each state.
    cost: counts what the run takes; the first process has it.
    best: of the evaluations, where the best state is kept.
    selection: compares the policy by a judge, where that decides.
    stop: looked at after each step.
    profile: traces some steps.
    health: looks at what is logged; warns, and stops a run that is lost.
    own: has the policy write completions at evaluations, to measure its KL
      divergence from the reference; None = it is not measured.
    stopping: ends a run in rounds whose held-out score falls; None = nothing
      does.
    window: metrics of the steps since the last line.
    auc: of thumbs without pairs, at the last evaluation; see `thumbs`.
  """

  config: Config
  learner: Learner
  rounds: Rounds
  ref: Params | None
  demonstrations: Demonstrations | None
  checkpoints: Checkpoints
  logs: Logs
  about: dict[str, Any]
  cost: Cost | None
  best: Best | None
  selection: Selection | None
  stop: Stop
  profile: Profile
  health: Health
  own: OwnSamples | None = None
  stopping: Stopping | None = None
  reference: Params | None = None
  window: list[dict[str, float]] = dataclasses.field(default_factory=list)
  auc: Auc | None = None
  _round: Round | None = dataclasses.field(default=None, init=False)
  _batches: Prefetch[_Drawn] | None = dataclasses.field(
    default=None, init=False
  )
  _made: _Made | None = dataclasses.field(default=None, init=False)

  def run(self, state: TrainState, owed: bool) -> int:
    """Trains through the steps that are left.

    Args:
      state: to begin with; its buffers are used up.
      owed: whether the state is to be evaluated first.

    Returns:
      The last step.

    Raises:
      Stopped: where the run was asked to stop; the state is saved.
      Unjudged: where a judge could not go on; the state is saved.
      Unscored: where the samples of a round got no scores; likewise.
      NonFinite: where the loss stops being a number, or will not come back.
    """
    config, learner = self.config, self.learner
    step = begin = int(state.step)
    try:
      if owed:
        with self.stop.saved():
          self._evaluate(begin, state)
      while step < config.last_step and not self._has_fallen:
        step += 1
        # The first step compiles, and there is nothing yet to keep.
        first = step == begin + 1
        border = first or self.rounds.begins(step)
        with self.stop.saved() if border else contextlib.nullcontext():
          if border:
            self._settle()
            policy = learner.policy(state.params, self.ref)
            self._enter(step, self.rounds.enter(step, policy))
          state = self._step(step, state)
          if first:
            self._settle()
        if self._is_compared(step):
          self._save(state)  # a judge may be cut off
        found = self._evaluate(step, state)
        better = bool(found) and self._is_best(step)
        due = better or is_due(step, config.save_every, config)
        if due or self._has_fallen:
          self._save(state)
        if step < config.last_step and not self._has_fallen:
          self.stop.check()
      if self._has_fallen:
        assert self.stopping is not None
        self.logs.say(self.stopping.sentence)
      if self.cost is not None:
        self.cost.write()  # with the seconds of the last evaluation
    except (Stopped, Unjudged, Unscored):
      if int(state.step):
        self._save(state)
      raise
    finally:
      if self._batches is not None:
        self._batches.close()
    return step

  @property
  def _has_fallen(self) -> bool:
    return self.stopping is not None and self.stopping.has_fallen

  def _enter(self, step: int, now: Round) -> None:
    """Begins with the batches of a round, from a step on."""
    if self._batches is not None:
      self._batches.close()
    mesh, more = self.learner.mesh, self.demonstrations
    mine = sharding.local_rows(mesh, self.config.batch_size)

    def draw(step: int) -> _Drawn:
      rows = now.data.train
      picked = now.sampler.indices(step - 1)
      host = now.data.batch("train", picked, rows.weight[picked], mine)
      placed, tokens = sharding.put_batch(mesh, host), rows.count_tokens(picked)
      rate = None
      if is_due(step, self.config.log_every, self.config):
        rate = self.learner.learning_rate(step - 1)
      own = None
      if more is not None:
        own = more.batch(step, sharding.local_rows(mesh, more.batch_size))
        own = sharding.put_batch(mesh, own)
        tokens += more.tokens(step)
      return _Drawn(picked, tokens, placed, rate, own)

    left = range(step + 1, self.config.last_step + 1)
    steps = itertools.takewhile(lambda s: not self.rounds.begins(s), left)
    self._round = now
    self._batches = Prefetch(draw, itertools.chain([step], steps))

  def _step(self, step: int, state: TrainState) -> TrainState:
    """Begins one step, and looks at the metrics of the one before."""
    learner, now = self.learner, self._round
    assert now is not None
    assert self._batches is not None
    with self.profile.step(step):
      drawn = self._batches.take()
      given = [drawn.batch, self.ref]
      reference = now.reference or self.reference
      if drawn.demonstrations is not None or reference is not None:
        given.append(drawn.demonstrations)
      if reference is not None:
        given.append(reference)
      state, metrics = learner.train_step(state, *given)
      for metric in jax.tree.leaves(metrics):
        metric.copy_to_host_async()
      self._settle()
      self._made = _Made(step, now, drawn, metrics)
      if self.profile.ends_with(step):
        self._settle()
    return state

  def _settle(self) -> None:
    """Waits for the step that was begun last, and writes the line it has."""
    if self._made is None:
      return
    made, self._made = self._made, None
    step, now, picked = made.step, made.of, made.drawn.picked
    metrics, rows = jax.device_get(made.metrics), now.data.train
    check_finite(step, metrics, [_where(rows, i) for i in picked])
    self.window.append(finish(metrics, now.sampler.parts(picked)))
    self.health.first(step, self.window[-1]["loss"])
    self.logs.count(made.drawn.tokens)
    if self.cost is not None:
      self.cost.count(made.drawn.tokens)
    if step == now.first and now.metrics:
      self.logs.write(step, now.metrics)
    if made.drawn.rate is not None:
      line = mean_of(self.window)
      line["learning_rate"] = made.drawn.rate
      line["epoch"] = now.sampler.epoch(step)
      line["tokens_per_second"] = self.logs.rate
      self.logs.write(step, line)
      self.logs.show(step, line)
      self.health.see(step, line)
      self.window = []

  def _evaluate(self, step: int, state: TrainState) -> dict[str, float]:
    """Logs the held-out metrics that are due, if any, and returns them."""
    config, learner = self.config, self.learner
    held: dict[str, float] = {}
    said = ""
    if step == 0 or is_due(step, config.eval_every, config):
      self._settle()
      size, data = config.batch_size, self.rounds.held
      held |= evaluate(
        learner, state, data, self.ref, size, self.stop, self.reference
      )
      policy = learner.policy(state.params, self.ref)
      held |= self.rounds.evaluate(step, policy)
      if held and (step or not self._starts_at_reference):
        held |= self._distance(step, policy)
      parted = thumbs(learner, policy, data.rows, batch_size=size)
      said = f", AUC of thumbs {parted}" if parted else ""
      self.auc = parted
    if self.selection is not None and self._is_compared(step):
      self._settle()
      policy = learner.policy(state.params, self.ref)
      self.checkpoints.wait()
      with self.stop.saved():  # a judge may take long
        held |= self.selection.compare(learner.model, policy, self.stop)
    if held:
      self.logs.write(step, held)
      said += self.health.describe(held)
      self.logs.say(f"step {step}: {describe(held, self.health.pairs)}{said}")
      self.health.see(step, held)
    if self.best is not None:
      self.best.note(step, held)
    if self.stopping is not None:
      self.stopping.note(step, held)
    return held

  def _distance(self, step: int, policy: Params) -> dict[str, float]:
    """The KL divergence from the reference, where it can be measured."""
    if self.own is None:
      return {}
    try:
      return self.own.measure(step, policy, self.stop)
    except UserError as error:
      self.own = None
      self.logs.say(
        "the KL divergence from the reference is not measured any more, since "
        f"the reference's weights cannot be read: {marked(error)}"
      )
      return {}

  @property
  def _starts_at_reference(self) -> bool:
    return self.own is None or self.own.from_start

  def _is_compared(self, step: int) -> bool:
    """Whether a judge compares the policy after a step."""
    select = self.config.select
    if select is None or not step:
      return False
    return is_due(step, select.every, self.config)

  def _is_best(self, step: int) -> bool:
    saved = self.checkpoints.steps
    return self.best is not None and self.best.is_best(step, saved)

  def _save(self, state: TrainState) -> None:
    self._settle()
    self.checkpoints.save(state, self.about, self.window)
    if self.cost is not None:
      self.cost.write()


def is_due(step: int, every: int | None, config: Config) -> bool:
  """Whether a line, an evaluation or a checkpoint is due after a step.

  After the last step it always is.

  Args:
    step: the step.
    every: steps from one to the next; None = a fifth of the run.
    config: the flags.
  """
  every = every or max(config.last_step // 5, 1)
  return step % every == 0 or step == config.last_step


def _where(rows: TokenRows, i: int) -> str:
  return " and ".join(dict.fromkeys(rows.sources[i]))
