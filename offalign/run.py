"""One training run: what it reads, its loop, what it leaves behind."""

import json
import pathlib
from typing import Any

import jax
import numpy as np

from offalign import inputs, losses, reference, sharding, start
from offalign.checkpoint import Checkpoints
from offalign.config import Config, check, flat, refuse_changes
from offalign.data import Sampler, TokenRows, batch, eval_batches
from offalign.errors import UserError
from offalign.evals.accuracy import reward_accuracy
from offalign.learner import (
  Learner,
  LearnerConfig,
  TrainState,
  check_finite,
  finish,
)
from offalign.logs import Logs, write_atomically, write_json
from offalign.types import Params


class Run:
  """One training run, from its configuration to its last checkpoint.

  Attributes:
    config: the flags.
    folder: the run folder.
    learner: the learner.
    inputs: the rows.
  """

  def __init__(self, config: Config):
    """Reads everything and checks it; trains nothing.

    Raises:
      UserError: for any mistake that can be known before the first step.
    """
    loss = losses.get(config.loss)
    check(config)
    self.config = config
    self.folder = pathlib.Path(config.out)
    self._parent = parent = start.find_parent(config)
    mesh = sharding.make_mesh(config.mesh)
    sharding.check_batch_size(mesh, config.batch_size, config.microbatches)
    known = start.read_about(self.folder)
    refuse_changes(config, known, self.folder)
    self.inputs = inputs.read(
      config.data,
      loss,
      lambda texts: start.tokenizer(config, parent, texts),
      config.seed,
    )
    self.sampler = Sampler(
      len(self.inputs.train), config.batch_size, seed=config.seed
    )
    model, self._first, self._identity = start.policy(
      config, parent, self.inputs.tokenizer.vocab_size, mesh
    )
    self.learner = Learner(
      loss,
      model,
      LearnerConfig(
        value=config.value,
        optimizer=config.optimizer,
        steps=config.steps,
        microbatches=config.microbatches,
        compute_dtype=(
          None if config.compute_dtype == "float32" else config.compute_dtype
        ),
      ),
      mesh,
    )
    self._about = {
      "config": flat(config),
      "loss": str(loss),
      "model": model.spec,
      "vocab_size": model.vocab_size,
      "tokenizer": self.inputs.tokenizer.fingerprint,
      "start": self._identity,
      "reward_scale": (
        None
        if self.inputs.scale is None
        else {"mean": self.inputs.scale.mean, "std": self.inputs.scale.std}
      ),
    }
    self._refuse_other_data(known)

  def _refuse_other_data(self, known: dict[str, Any] | None) -> None:
    for key in ("model", "vocab_size", "tokenizer", "start", "reward_scale"):
      if known is not None and known[key] != self._about[key]:
        raise UserError(
          f"{self.folder} was begun with another {key} ({known[key]}, now "
          f"{self._about[key]}): the files behind its flags have changed; "
          "name another --cfg.out"
        )

  def train(self) -> dict[str, float]:
    """Trains to the last step; returns the last held-out metrics."""
    self.folder.mkdir(parents=True, exist_ok=True)
    with Checkpoints(self.folder, self.config.keep) as checkpoints:
      state = self.learner.init(self._first)
      if checkpoints.latest is not None:
        state = checkpoints.restore(state)
      begin = int(state.step)
      self._report_start(begin)
      start.keep(self.config, self._parent, self._first)
      write_json(self.folder / start.ABOUT, self._about)
      rows = self._with_reference(begin)
      logs = Logs(self.folder, begin, self.config.steps)
      try:
        return self._loop(state, rows, checkpoints, logs)
      finally:
        logs.close()

  def _report_start(self, begin: int) -> None:
    for sentence in self.inputs.sentences:
      print(sentence)
    if self.inputs.problems:
      path = self.folder / "bad_rows.jsonl"
      lines = [json.dumps(vars_of(p)) + "\n" for p in self.inputs.problems]
      write_atomically(path, "".join(lines))
      print(f"{len(lines)} problems of rows left out are listed in {path}")
    size = sum(x.size for x in jax.tree.leaves(self._first))
    print(
      f"{self.learner.model.spec}, {size:,} params, loss "
      f"{self.learner.loss}, {self.learner.mesh.size} device(s)"
    )
    if begin:
      print(f"going on after step {begin} of {self.folder}")

  def _with_reference(self, begin: int) -> dict[str, TokenRows]:
    """The rows, with reference log-probs where anything reads them."""
    config = self.config
    store = reference.Store(self.folder / "reference.npz", self._identity)
    rows = {"train": self.inputs.train}
    wanted = {"train": self._used_rows(begin)}
    for name in ("held_out", "judged"):
      found = getattr(self.inputs, name)
      if found is not None:
        rows[name], wanted[name] = found, np.arange(len(found))
    for name in rows:
      if "ref_logps" in self.learner.loss.needs or name == "judged":
        rows[name] = reference.attach(
          rows[name],
          wanted[name],
          store,
          self.learner,
          self._first,
          batch_size=config.batch_size,
          title=f"reference, {name.replace('_', ' ')} rows",
        )
    return rows

  def _used_rows(self, begin: int) -> np.ndarray:
    """The rows that the steps after `begin` will draw."""
    n, size = len(self.inputs.train), self.config.batch_size
    if (self.config.steps - begin) * size >= 2 * n:
      return np.arange(n)  # whole epochs
    steps = range(begin, self.config.steps)
    drawn = [self.sampler.indices(t) for t in steps]
    return np.unique(np.concatenate(drawn)) if drawn else np.arange(0)

  def _loop(
    self,
    state: TrainState,
    rows: dict[str, TokenRows],
    checkpoints: Checkpoints,
    logs: Logs,
  ) -> dict[str, float]:
    config, learner = self.config, self.learner
    every = {
      name: getattr(config, f"{name}_every") or max(config.steps // 5, 1)
      for name in ("log", "eval", "save")
    }
    ref = self._first if learner.needs_reference_weights else None
    begin, held = int(state.step), {}
    window: list[dict[str, float]] = []
    if begin == 0:
      held = self._evaluate(state.params, rows, ref)
      logs.write(0, held)
    for step in range(begin + 1, config.steps + 1):
      picked = self.sampler.indices(step - 1)
      host = batch(rows["train"], picked)
      if step == begin + 1:
        learner.check_batch(host)
      placed = sharding.put_batch(learner.mesh, host)
      state, metrics = learner.train_step(state, placed, ref)
      metrics = jax.device_get(metrics)
      check_finite(step, metrics, [_where(rows["train"], i) for i in picked])
      window.append(finish(metrics))
      logs.count(int(host.prompt_mask.sum() + host.completion_mask.sum()))
      if step % every["log"] == 0 or step == config.steps:
        line = mean_of(window)
        line["learning_rate"] = learner.learning_rate(step - 1)
        line["epoch"] = self.sampler.epoch(step)
        line["tokens_per_second"] = logs.rate
        logs.write(step, line)
        logs.show(step, line)
        window = []
      if step % every["eval"] == 0 or step == config.steps:
        held = self._evaluate(state.params, rows, ref)
        logs.write(step, held)
        logs.say(f"step {step}: {describe(held)}")
      if step % every["save"] == 0 or step == config.steps:
        checkpoints.save(state, self._about)
    return held

  def _evaluate(
    self, params: Params, rows: dict[str, TokenRows], ref: Params | None
  ) -> dict[str, float]:
    """Held-out metrics, named as TRL names them: with "eval_" before."""
    learner, size = self.learner, self.config.batch_size
    out: dict[str, float] = {}
    if "held_out" in rows:
      sums: dict[str, np.ndarray] = {}
      for host in eval_batches(rows["held_out"], size):
        placed = sharding.put_batch(learner.mesh, host)
        _, means = jax.device_get(learner.evaluate(params, placed, ref))
        for name, pair in means.items():
          sums[name] = sums.get(name, np.zeros(2)) + np.asarray(pair)
      out |= finish({"means": sums})
    if "judged" in rows:
      out |= reward_accuracy(
        learner.loss,
        lambda p, b: learner.score(p, sharding.put_batch(learner.mesh, b)),
        params["policy"],
        rows["judged"],
        batch_size=size,
      )
    return {f"eval_{name}": value for name, value in out.items()}


def mean_of(lines: list[dict[str, float]]) -> dict[str, float]:
  """Means over steps; a metric that some steps lack, over those that do."""
  names = dict.fromkeys(name for line in lines for name in line)
  return {
    name: float(np.mean([line[name] for line in lines if name in line]))
    for name in names
  }


def describe(held: dict[str, float]) -> str:
  """The held-out metrics in one line."""
  parts = [
    f"{label} {held[name]:.4f}"
    for name, label in (
      ("eval_loss", "held-out loss"),
      ("eval_rewards/accuracies", "held-out reward accuracy"),
      ("eval_rewards/margins", "margin"),
    )
    if name in held
  ]
  return ", ".join(parts) or "nothing held out"


def vars_of(problem: Any) -> dict[str, Any]:
  """A problem as a JSON object."""
  return {
    name: getattr(problem, name) for name in ("file", "row", "column", "what")
  }


def _where(rows: TokenRows, i: int) -> str:
  return " and ".join(dict.fromkeys(rows.sources[i]))
