"""One training run: what it reads, its loop, what it leaves behind."""

import contextlib
import dataclasses
import math
import pathlib
from typing import Any

import jax
import numpy as np

from offalign import losses, user_code
from offalign.config import Config
from offalign.config.config import blaming, check, flat, refuse_changes
from offalign.data import TokenRows, batch, read_scales
from offalign.data.batches import reward_scales
from offalign.data.batches.packing.run import Cut
from offalign.distributed import hosts, sharding
from offalign.distributed.signals import Stop, Stopped
from offalign.errors import UserError
from offalign.files import write_atomically, write_json
from offalign.learner import Learner, LearnerConfig
from offalign.policy import start
from offalign.policy.best import Best
from offalign.policy.best import check as check_best
from offalign.policy.checkpoint import Checkpoints
from offalign.policy.folder import ABOUT, TOKENIZER, read_about, read_metrics
from offalign.reference import store
from offalign.training import compile_cache, evaluation, header, inputs
from offalign.training.batches import Referenced
from offalign.training.evaluation import PREFIX
from offalign.training.logs import Logs, NoLogs
from offalign.training.loop import Loop, is_due
from offalign.training.profile import Profile
from offalign.training.selection import Selection, keeping


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
    user_code.load_all(config.imports)
    with blaming("--cfg.loss"):
      loss = losses.get(config.loss)
    config = keeping(config)
    check(config)
    compile_cache.keep(config.compile_cache)
    self.config = config
    self.folder = pathlib.Path(config.out)
    self._parent = parent = start.find_parent(config)
    with blaming("--cfg.mesh"):
      mesh = sharding.make_mesh(config.mesh)
    with blaming(f"--cfg.batch_size={config.batch_size}"):
      sharding.check_batch_size(mesh, config.batch_size, config.microbatches)
    known = read_about(self.folder)
    refuse_changes(config, known, self.folder)
    with blaming(""):
      self.inputs = inputs.read(
        config.data,
        loss,
        lambda texts: start.tokenizer(config, parent, known is not None, texts),
        config.seed,
        None if known is None else read_scales(self.folder),
      )
    model, self._first, self._identity = start.policy(
      config, parent, self.inputs.tokenizer.vocab_size, mesh
    )
    with blaming(""):
      self.learner = Learner(loss, model, _learner_config(config), mesh)
    with blaming(f"--cfg.batch_size={config.batch_size}"):
      self.sampler = self.inputs.sampler(config.batch_size, config.seed)
      first = batch(self.inputs.train, self.sampler.indices(0))
      ref = np.zeros(first.completions.shape[:2], np.float32)  # comes later
      self.learner.check_batch(dataclasses.replace(first, ref_logps=ref))
    with blaming("--cfg.model"):
      jax.eval_shape(self.learner.score, self._first, first)
    self._selection = None
    if config.select is not None:
      self._selection = Selection(config, loss, self.inputs)
    elif config.keep_best is not None:
      logged = evaluation.names(
        self.learner, self._first, self._held_out(), config.batch_size
      )
      check_best(config.keep_best, logged)
    self._about = {
      "config": flat(config),
      "loss": str(loss),
      "model": model.spec,
      "vocab_size": model.vocab_size,
      "tokenizer": self.inputs.tokenizer.fingerprint,
      "start": self._identity,
      "data": self.inputs.fingerprint,
      "reward_scale": self.inputs.scales and self.inputs.scales.summary(),
      "mixture": self.inputs.mixture and self.inputs.mixture.summary(),
    }
    if known is not None:
      self._refuse_other_files(known)
    hosts.agree(self._about)

  def _refuse_other_files(self, known: dict[str, Any]) -> None:
    for key, what in (
      ("model", "another model"),
      ("vocab_size", "another vocabulary"),
      ("tokenizer", "another tokenizer"),
      ("start", "another starting policy"),
      ("data", "other data"),
    ):
      if known[key] != self._about[key]:
        raise UserError(
          f"{self.folder} was begun with {what} ({known[key]}, now "
          f"{self._about[key]}): the files behind its flags have changed; "
          "put them back, or name another --cfg.out"
        )

  def train(self, stop: Stop | None = None) -> dict[str, float]:
    """Trains to the last step; returns the last held-out metrics.

    To be called once: another attempt takes another `Run`.

    Args:
      stop: looked at after each batch.

    Raises:
      UserError: for a folder or a checkpoint that cannot be used.
      NonFinite: where the loss stops being a number.
      Stopped: where it was asked for; says how to go on.
    """
    try:
      if hosts.is_first():
        self.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise UserError(
        f"--cfg.out={self.folder} cannot be a folder: {error.strerror}"
      ) from None
    hosts.check_shared(self.folder)
    best = None
    if self.config.keep_best is not None:
      best = Best(self.folder, self.config.keep_best)
    with Checkpoints(self.folder, self.config.keep, best) as checkpoints:
      try:
        return self._train(checkpoints, best, stop or Stop())
      except Stopped:
        latest = checkpoints.latest or 0
        raise Stopped(
          f"asked to stop: step {latest} of {self.config.steps} is kept in "
          f"{self.folder}; the same command goes on from there"
        ) from None

  def _train(
    self, checkpoints: Checkpoints, best: Best | None, stop: Stop
  ) -> dict[str, float]:
    config, learner = self.config, self.learner
    begin = checkpoints.latest or 0
    owed = self._owes_evaluation(begin)
    if begin >= config.steps and not owed:
      return self._report_finished(begin)
    stop.check()
    state, window = learner.init(self._first, config.seed), []
    if begin:
      state, window = checkpoints.restore(state), checkpoints.window()
    if hosts.is_first():
      header.report(self.folder, self.inputs, learner, self._first, begin)
      self._begin_folder()
    data = self._with_reference(begin, stop)
    if self._selection is not None:
      self._selection.prepare(learner.model, self._first, stop)
    ref = self._first if learner.has_frozen_weights else None
    self._first = None  # frees it, but for `ref`: from here on it is columns
    logs: Logs = NoLogs()
    if hosts.is_first():
      logs = Logs(self.folder, begin, config.steps)
    traced = config.profile or 0
    profile = Profile(
      self.folder / "profile", traced if hosts.is_first() else 0, begin
    )
    loop = Loop(
      config=config,
      learner=learner,
      sampler=self.sampler,
      data=data,
      ref=ref,
      checkpoints=checkpoints,
      logs=logs,
      about=self._about,
      best=best,
      selection=self._selection,
      stop=stop,
      profile=profile,
      window=window,
    )
    with contextlib.closing(logs), profile:
      return loop.run(state, owed)

  def _begin_folder(self) -> None:
    """Writes what a run that goes on reads; run.json last, as it counts."""
    about = self.folder / ABOUT
    if not about.exists():
      self.inputs.tokenizer.save(self.folder / TOKENIZER)
      start.keep(self.config, self._parent, self._first)
      kept = self.inputs.scales and self.inputs.scales.file()
      if kept:
        write_atomically(self.folder / reward_scales.FILE, kept)
    write_json(about, self._about)

  def _owes_evaluation(self, begin: int) -> bool:
    """Whether the state after `begin` was to be evaluated, and was not."""
    if begin == 0:
      return True
    config, select = self.config, self.config.select
    due = bool(self._held_out()) and is_due(begin, config.eval_every, config)
    if select is not None:
      due = due or is_due(begin, select.every, config)
    if not due or begin > config.steps:
      return False
    return hosts.anywhere(not _held(self.folder, begin))

  def _report_finished(self, begin: int) -> dict[str, float]:
    hosts.say(
      f"nothing to do: {self.folder} is at step {begin} of "
      f"{self.config.steps}; a larger --cfg.steps goes on from there"
    )
    return _held(self.folder) or {}

  def _with_reference(self, begin: int, stop: Stop) -> Referenced:
    """The rows, with what is wanted of the reference, packed if asked for."""
    config, mesh = self.config, self.learner.mesh
    data = Referenced.score(
      self.inputs.train,
      self._held_out(),
      self.sampler,
      range(begin, config.steps),
      store.Scorer(
        store=store.Store(self.folder / "reference", self._identity),
        learner=self.learner,
        params=self._first,
        batch_size=config.batch_size,
        stop=stop,
      ),
    )
    if not config.packing:
      return data
    shards = math.prod(mesh.shape[axis] for axis in sharding.BATCH_AXES)
    cut = Cut(shards, config.microbatches, self.learner.model.width)
    return data.packed(
      self.learner.loss, self.sampler, config.steps, config.batch_size, cut
    )

  def _held_out(self) -> dict[str, TokenRows]:
    found = {"judged": self.inputs.judged, "held_out": self.inputs.held_out}
    return {name: rows for name, rows in found.items() if rows is not None}


def _learner_config(config: Config) -> LearnerConfig:
  return LearnerConfig(
    value=config.value,
    lora=config.lora,
    optimizer=config.optimizer,
    steps=config.steps,
    microbatches=config.microbatches,
    remat=config.remat,
    compute_dtype=(
      None if config.compute_dtype == "float32" else config.compute_dtype
    ),
  )


def _held(
  folder: pathlib.Path, step: int | None = None
) -> dict[str, float] | None:
  """The last held-out metrics that were logged, or those of a step."""
  found = None
  for line in read_metrics(folder):
    held = {k: v for k, v in line.items() if k.startswith(PREFIX)}
    if held and step in (None, line["step"]):
      found = held
  return found
