"""Train a policy: `Run`, from its options to the files of its folder.

Above 300 lines, since what `Run` checks before the first step is what it then
trains with, and both are read together.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from offalign import losses, user_code
from offalign.config import Config, arguments
from offalign.config import reference as reference_config
from offalign.config.config import check, flat, refuse_changes
from offalign.config.grow import LOG
from offalign.data import Sampler, Tokenizer, batch, read_scales
from offalign.data.batches import reward_scales, vocabulary
from offalign.data.batches.packing.packing import Cut
from offalign.distributed import hosts, sharding
from offalign.distributed.signals import Stop, Stopped
from offalign.errors import UserError, concerning, marked, option
from offalign.files import write_atomically, write_json
from offalign.leaderboard.provenance import Stopwatch
from offalign.learner import Learner, LearnerConfig, TrainState
from offalign.losses import Loss
from offalign.models.base import Model
from offalign.policy import held_out, limit, start, trained_rewards
from offalign.policy import reference as other_reference
from offalign.policy.best import Best
from offalign.policy.best import check as check_best
from offalign.policy.checkpoint import Checkpoints
from offalign.policy.folder import (
  ABOUT,
  TOKENIZER,
  curves,
  held_out_metrics,
  read_about,
  read_metrics,
)
from offalign.policy.merging.merge import refuse_training
from offalign.policy.policy import Policy
from offalign.reference.scoring import Scorer
from offalign.reference.store import Shared, Store
from offalign.training import (
  auto_mesh,
  compile_cache,
  demonstrations,
  epochs,
  evaluation,
  header,
  inputs,
  lock,
  own_samples,
  rates,
  resuming,
)
from offalign.training import health as health_lib
from offalign.training import split as split_lib
from offalign.training.auc import Auc
from offalign.training.batches import Batches
from offalign.training.compiling import Compiling
from offalign.training.cost import Cost
from offalign.training.health import Health
from offalign.training.logs import Logs, NoLogs
from offalign.training.loop import Loop
from offalign.training.own_samples import OwnSamples
from offalign.training.profile import Profile
from offalign.training.rounds import checks as rounds_checks
from offalign.training.rounds import (
  drawing,
  external,
  kept,
  logged,
  making,
  prompts,
  refit_checks,
  refitting,
  schedule,
  scoring,
  stopping,
)
from offalign.training.rounds.base import Once, Rounds
from offalign.training.rounds.drawing import Drawer
from offalign.training.rounds.growing import Growing
from offalign.training.rounds.kept import Kept
from offalign.training.rounds.logged import Logged
from offalign.training.rounds.making import Maker
from offalign.training.rounds.prompts import Asked
from offalign.training.rounds.refitting import Refits
from offalign.training.rounds.scoring import HELD_SCORE
from offalign.training.rounds.stopping import Stopping
from offalign.training.selection import Selection, keeping
from offalign.training.split import Split
from offalign.types import Params


class Run:
  """One training run, from its configuration to its last checkpoint.

  Attributes:
    config: the configuration.
    folder: the run folder.
    learner: the learner.
    inputs: the rows, and batches of them.
    sampler: which rows each step has.
    auc: of thumbs without pairs, at the last evaluation of this process; None
      where there was none.
    compiling: what this process compiled for the run.
  """

  auc: Auc | None = None

  def __init__(self, config: Config | None = None, **options: Any):
    """Reads everything and checks it; trains nothing.

      Run(loss="dro_v(tau=1.0)", model="t5", data=rows, out="runs/thumbs")

    Args:
      config: the configuration; or give its fields:
      options: the fields of `Config`. `data` is a path, a list of dicts or a
        `datasets.Dataset`; or, like each group of options, a dict of its
        fields: data={"path": rows, "max_prompt": 64}.

    Raises:
      UserError: for any mistake that can be known before the first step.
    """
    self._watch, self.compiling = Stopwatch(), Compiling()
    with self._watch, self.compiling:
      self._read(self._config(config, options))

  @staticmethod
  def _config(config: Config | None, options: dict[str, Any]) -> Config:
    if config is None:
      return arguments.read(options)
    if options:
      raise UserError(
        f"{', '.join(options)} is given beside a Config: use "
        "dataclasses.replace on that, or give all options by name"
      )
    return config

  def _read(self, config: Config) -> None:
    user_code.load_all(config.imports)
    with concerning(option("loss")):
      loss = losses.get(config.loss)
    config = keeping(config)
    check(config)
    choice = reference_config.parse(config.reference)
    other_reference.check(config, choice, loss)
    if config.grow is not None:
      config = schedule.resolve(config)
      rounds_checks.check(config, loss)
    compile_cache.keep(config.compile_cache)
    self.config = config
    self.folder = pathlib.Path(config.out)
    self._parent = parent = start.find_parent(config)
    if parent is not None:
      trained_rewards.check_continued(
        parent.folder, parent.about, loss, config.value
      )
    if not config.mesh.auto:
      self._mesh(config)
    lock.check(self.folder)
    known = read_about(self.folder)
    refuse_training(self.folder, known)
    config, split, self._said = split_lib.resolve(config, known, parent)
    config, more = rates.resolve(config, known, parent, loss)
    self._said += more
    # New weights with a reference of their own are held close to no noise.
    untrained = start.is_untrained(config, parent) and choice.run is None
    if untrained:
      self._said += header.untrained(loss)
    refuse_changes(config, known, self.folder)
    self._known_prompts = split.known
    self.inputs = self._inputs(config, loss, split, known)
    self._demonstrations = demonstrations.read(
      config, self.inputs.tokenizer, self.inputs.held_prompts, self.folder
    )
    size = self.inputs.tokenizer.vocab_size
    shape = config.mesh
    if shape.auto:
      described = auto_mesh.described(config, parent, size)
      shape, said = auto_mesh.choose(
        config,
        learner_config(config),
        described,
        known,
        other_reference.described(config, loss),
      )
      self._said.append(said)
    mesh = self._mesh(dataclasses.replace(config, mesh=shape))
    model, self._first, self._identity = start.policy(
      config, parent, size, mesh
    )
    self._reference = other_reference.load(
      config, choice, self.inputs.tokenizer, mesh, self._identity
    )
    self._check_vocabulary(model)
    demonstrations.check(self._demonstrations, model)
    if self._reference is not None:
      with concerning(option("reference")):
        self._check_vocabulary(self._reference.model)
      self._said.append(f"reference: {self._reference.identity}")
    self.sampler: Sampler
    if self._asked is None:
      with concerning(option("batch_size", config.batch_size)):
        self.sampler = self.inputs.sampler(config.batch_size, config.seed)
      config = epochs.resolve(config, self.sampler)
      self._said.append(epochs.describe(config.last_step, self.sampler))
    else:
      prompts.bounded(self._asked, model)
      self.sampler = schedule.RoundSampler(
        len(self.inputs.train), config.batch_size, config.seed
      )
    self.config = config
    refuse_changes(config, known, self.folder)  # now that its steps are known
    beside = None
    if loss.runs_reference and self._reference is not None:
      beside = self._reference.model
    self.learner = Learner(
      loss, model, learner_config(config), mesh, reference=beside
    )
    with concerning(option("batch_size", config.batch_size)):
      first = batch(self.inputs.train, self.sampler.indices(0))
      ref = np.zeros(first.completions.shape[:2], np.float32)  # comes later
      self.learner.check_batch(dataclasses.replace(first, ref_logps=ref))
    with concerning(option("model")):
      jax.eval_shape(self.learner.score, self._first, first)
    self._selection = None
    if config.select is not None:
      self._selection = Selection(config, loss, self.inputs)
    elif config.keep_best is not None:
      logged = evaluation.names(
        self.learner, self._first, self.inputs.rows, config.batch_size
      )
      logged |= self._held_names
      check_best(config.keep_best, logged)
    stopping.check(config, scores=HELD_SCORE in self._held_names)
    self._score = self._other = self._judge = None
    if config.grow is not None and config.grow.score is not None:
      rounds = self.folder / kept.FOLDER
      self._score = scoring.scorer(config.grow.score, folder=rounds)
      self._other = self._writes_half(config)
      refit_checks.check_mesh(config, mesh)
      self._judge = scoring.judge(config.grow, self.inputs.held_prompts, rounds)
      if not scoring.is_alone(config.grow):
        self._said.append(
          "completions of held-out prompts get no eval_score: what scores "
          "compares completions of a prompt with each other"
        )
    self._own = own_samples.count(
      config,
      loss,
      self.inputs.held_prompts,
      self._said,
      untrained=untrained,
    )
    self._about = {
      "config": flat(config),
      "loss": str(loss),
      "trains": trained_rewards.what(loss),
      "model": model.spec,
      "vocab_size": model.vocab_size,
      "tokenizer": self.inputs.tokenizer.fingerprint,
      "start": self._identity,
      "reference": (
        self._reference.identity if self._reference else self._identity
      ),
      "data": self._fingerprint,
      limit.LONGEST: self.inputs.train.longest_completion,
      "reward_scale": self.inputs.scales and self.inputs.scales.summary(),
      "demonstrations": demonstrations.fingerprint(self._demonstrations),
      "mixture": self.inputs.mixture and self.inputs.mixture.summary(),
    }
    if config.mesh.auto:
      self._about[auto_mesh.KEPT] = auto_mesh.record(shape)
    if known is not None:
      resuming.refuse_other_files(self.folder, known, self._about)
    hosts.agree(self._about)
    self._external = None
    if self._asked is not None:  # asked last: nothing is spent on a mistake
      for score, name in ((self._score, "score"), (self._judge, "judge")):
        scoring.probe(score, self._asked.prompts[0], f"grow.{name}")
      self._external = external.of_run(
        config,
        loss,
        self.inputs.tokenizer,
        self._asked,
        self.folder / kept.FOLDER,
      )

  @staticmethod
  def _mesh(config: Config) -> Mesh:
    """The devices, arranged as the options say."""
    with concerning(option("mesh")):
      mesh = sharding.make_mesh(config.mesh)
    with concerning(option("batch_size", config.batch_size)):
      sharding.check_batch_size(mesh, config.batch_size, config.microbatches)
    if config.ptx is not None and config.ptx.batch_size is not None:
      size = config.ptx.batch_size
      with concerning(option("ptx.batch_size", size)):
        sharding.check_batch_size(mesh, size, config.microbatches)
    return mesh

  def _writes_half(self, config: Config) -> making.Other | Logged | None:
    """What writes half of a prompt's samples, where something else does."""
    assert config.grow is not None
    if config.grow.other != LOG:
      return making.other(config, self.inputs.tokenizer)
    assert self._asked is not None
    assert self._log is not None
    ends = self.inputs.tokenizer.end_ids
    return Logged.of(self._log.train, self._asked, ends)

  def _inputs(
    self,
    config: Config,
    loss: Loss,
    split: Split,
    known: dict[str, Any] | None,
  ) -> Batches:
    """Reads the data; for rounds of samples, the prompts too."""
    parent = self._parent
    self._asked: Asked | None = None
    self._log: Batches | None = None

    def tokenizer(texts: Iterable[str]) -> Tokenizer:
      return start.tokenizer(config, parent, known is not None, texts)

    samples = config.grow is not None and config.grow.score is not None
    if samples and not config.data.path:
      found = prompts.read_alone(config, tokenizer, split)
    elif samples and config.grow is not None and config.grow.other == LOG:
      found = self._log = logged.read(config, tokenizer, split, self.folder)
    else:
      found = inputs.read(
        config.data,
        loss,
        tokenizer,
        config.seed,
        None if known is None else read_scales(self.folder),
        split,
        self.folder,
      )
      self._log = found
    if samples:
      self._asked, found = prompts.asked(config, loss, found, parent)
    return found

  @property
  def _fingerprint(self) -> str:
    """Of all rows that are known before the first step."""
    found = self.inputs.fingerprint
    grow = self.config.grow
    if self._log is None or grow is None:
      return found
    if grow.keep == "all" or grow.other == LOG:
      found += f" {self._log.fingerprint}"
    return found

  @property
  def _held_names(self) -> set[str]:
    """What is logged of completions of held-out prompts."""
    grow = self.config.grow
    if self._asked is None or grow is None or not self.inputs.held_prompts:
      return set()
    return scoring.held_names(grow)

  def _check_vocabulary(self, model: Model) -> None:
    tokenizer = self.inputs.tokenizer
    vocabulary.check_tokenizer(tokenizer, model.vocab_size, model.spec)
    for rows in self.inputs.rows.values():
      vocabulary.check_rows(rows, tokenizer, model.vocab_size, model.spec)

  def train(self, stop: Stop | None = None, *, verbose: bool = True) -> Policy:
    """Trains to the last step.

    To be called once: another attempt takes another `Run`.

    Args:
      stop: looked at after each batch.
      verbose: says what is done, and shows a bar in a terminal.

    Returns:
      The policy of the last step.

    Raises:
      UserError: for a folder or a checkpoint that cannot be used.
      NonFinite: where the loss stops being a number, or has grown beyond
        recovery (`Diverged`).
      Stopped: where the run was asked to stop; says how to go on.
    """
    if self._first is None:
      raise UserError(
        f"this Run of {self.folder} has begun its training already: make "
        "another, which goes on from the newest checkpoint"
      )
    stop = stop or Stop()
    with hosts.silent(not verbose), self._watch, self.compiling, stop.keeping():
      return Policy(self.folder, self._about, self._whole(stop))

  def _whole(self, stop: Stop) -> int:
    """Trains; returns the last step."""
    try:
      if hosts.is_first():
        self.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise UserError(
        f"{option('out', self.folder)} cannot be a folder: {error.strerror}"
      ) from None
    hosts.check_shared(self.folder)
    with lock.locked(self.folder):
      return self._locked(stop)

  def _locked(self, stop: Stop) -> int:
    """Trains in a folder that no other run has; returns the last step."""
    best = None
    if self.config.keep_best is not None:
      best = Best(self.folder, self.config.keep_best)
    with Checkpoints(self.folder, self.config.keep, best) as checkpoints:
      try:
        return self._train(checkpoints, best, stop)
      except Stopped as stopped:
        checkpoints.wait()
        latest = checkpoints.latest or 0
        what = "interrupted" if stopped.interrupted else "asked to stop"
        raise Stopped(
          f"{what}: step {latest} of {self.config.last_step} is kept in "
          f"{self.folder}; the same command goes on from there",
          interrupted=stopped.interrupted,
        ) from None

  def _train(
    self, checkpoints: Checkpoints, best: Best | None, stop: Stop
  ) -> int:
    config, learner = self.config, self.learner
    begin = checkpoints.latest or 0
    owed = self._owes_evaluation(begin)
    logged = read_metrics(self.folder)
    follows = Stopping.of(config, logged, begin)
    finished = resuming.finished(self.folder, config, begin, follows)
    if finished and not owed:
      hosts.say(finished)
      return begin
    stop.check()
    state = learner.init(self._first, config.seed)
    window: list[dict[str, float]] = []
    if begin:
      state, window, moved = checkpoints.restore_whole(state)
      begin = int(state.step)
      for sentence in moved.values():
        hosts.say(
          f"warning: {sentence}; the run goes on from step {begin}, and what "
          "was logged after that is logged again"
        )
      if moved:
        owed = self._owes_evaluation(begin)
        follows = Stopping.of(config, logged, begin)
    else:
      state = self._from_reward_model(state)
    if hosts.is_first():
      more = self._demonstrations
      sentences = (
        *self.inputs.sentences,
        *(more.inputs.sentences if more else ()),
        *self._said,
      )
      problems = self.inputs.problems
      header.report(
        self.folder, sentences, problems, learner, self._first, begin
      )
      self._begin_folder()
    self._growing = rounds = self._rounds(begin, stop, checkpoints)
    data = rounds.held
    if self._selection is not None:
      with stop.saved():
        self._selection.prepare(learner.model, self._first, stop)
    ref = self._first if learner.has_frozen_weights else None
    reference = None
    if learner.reference is not None:
      assert self._reference is not None
      reference = self._reference.params
    own = self._own_samples(ref)
    # Frees the rest: from here on they are columns.
    self._first = self._reference = None
    logs: Logs = NoLogs()
    cost: Cost | None = None
    if hosts.is_first():
      logs = Logs(self.folder, begin, config.last_step)
      cost = Cost(
        self.folder,
        data.train,
        config.batch_size,
        self._watch,
        self.compiling,
        begin,
        rounds.count_tokens,
      )
    health = Health(
      self.folder if hosts.is_first() else None,
      [x for x in read_metrics(self.folder) if begin and x["step"] <= begin],
      learner.loss,
      data.rows,
      logs.say,
      stops=config.on_divergence == "stop",
    )
    health.begin(begin)
    traced = config.profile or 0
    profile = Profile(
      self.folder / "profile", traced if hosts.is_first() else 0, begin
    )
    loop = Loop(
      config=config,
      learner=learner,
      rounds=rounds,
      ref=ref,
      reference=reference,
      demonstrations=self._demonstrations,
      checkpoints=checkpoints,
      logs=logs,
      about=self._about,
      cost=cost,
      best=best,
      selection=self._selection,
      stop=stop,
      profile=profile,
      health=health,
      own=own,
      stopping=follows,
      window=window,
    )
    with logs, profile:
      last = loop.run(state, owed)
    self.auc = loop.auc
    return last

  def _own_samples(self, ref: Params | None) -> OwnSamples | None:
    """What measures the policy's distance, where that is to be measured.

    Large weights are read again at each evaluation, which needs no more
    memory than the gradients of a step.
    """
    if not self._own:
      return None
    other, read, scorer = self._reference, self._read_reference, None
    if other is not None:
      ref, read, scorer = None, other.read, other.scorer(self.learner)
    first = self._first if other is None else other.params
    held = self.learner.reference is not None  # in every step
    if ref is None and (held or own_samples.is_small(first)):
      ref = first
    kept = ref

    def reference() -> Params:
      return read() if kept is None else kept

    try:
      return OwnSamples(
        self.config, self.learner, self.inputs, self._own, reference, scorer
      )
    except UserError as error:
      if self.config.eval_samples is not None:
        raise
      hosts.say(f"no KL divergence from the reference: {marked(error)}")
      return None

  def _read_reference(self) -> Params:
    """The weights that the run started from, read again."""
    _, params, found = start.policy(
      self.config,
      self._parent,
      self.inputs.tokenizer.vocab_size,
      self.learner.mesh,
    )
    if found != self._identity:
      raise UserError(f"there is {found} now, not {self._identity}")
    return params

  def _from_reward_model(self, state: TrainState) -> TrainState:
    """The first state; with the parent's head where its rewards go on."""
    parent, loss = self._parent, self.learner.loss
    if parent is None:
      return state
    if not trained_rewards.is_reward_model(parent.folder, parent.about):
      return state
    hosts.say(trained_rewards.said(parent.folder, loss))
    if not loss.trains_rewards:
      return state
    model, mesh = self.learner.model, self.learner.mesh
    return trained_rewards.continued(
      parent.folder, parent.about, model, mesh, parent.step, state
    )

  def _begin_folder(self) -> None:
    """Writes what a resumed run reads; run.json last, which makes it a run."""
    about = self.folder / ABOUT
    if not about.exists():
      self.inputs.tokenizer.save(self.folder / TOKENIZER)
      start.keep(self.config, self._parent, self._first)
      held_out.write(
        self.folder,
        self.inputs.held,
        self.inputs.trained_prompts,
        self._known_prompts,
      )
      kept = self.inputs.scales and self.inputs.scales.file()
      if kept:
        write_atomically(self.folder / reward_scales.FILE, kept)
    write_json(about, self._about)

  def _owes_evaluation(self, begin: int) -> bool:
    """Whether the state after `begin` was to be evaluated, and was not."""
    held = self.inputs.held_out is not None or bool(self._held_names)
    return resuming.owes_evaluation(
      self.folder, self.config, begin, is_held=held
    )

  @property
  def held_out(self) -> dict[str, float]:
    """The last held-out metrics; {} where none were logged."""
    return held_out_metrics(self.folder)

  @property
  def pairs(self) -> int | None:
    """How many held-out pairs the reward accuracy is of, if any."""
    rows = self.inputs.rows.get("judged")
    return None if rows is None else len(rows)

  @property
  def health(self) -> list[str]:
    """The warnings that the run gave while it trained, in order."""
    return [each.sentence for each in health_lib.read(self.folder)]

  @property
  def metrics(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """All that was logged: name -> (int [n] steps, float64 [n] values)."""
    return {
      name: (np.array([s for s, _ in points]), np.array([v for _, v in points]))
      for name, points in curves(self.folder).items()
    }

  def _shared(self) -> Shared | None:
    """The log-probs of runs with the same weights, where there is a cache."""
    config = self.config
    if config.data.cache is None or hosts.several():
      return None  # the cache of each host would be another
    other = self._reference
    about = [
      other.network if other else start.network(self.folder, self._about),
      config.compute_dtype,
      start.digest(other.params if other else self._first, 32),
    ]
    cache = pathlib.Path(config.data.cache).expanduser()
    return Shared(cache, json.dumps(about, sort_keys=True))

  def _rounds(self, begin: int, stop: Stop, checkpoints: Checkpoints) -> Rounds:
    """The rows of all steps, with the reference's log-probs."""
    config, other = self.config, self._reference
    identity = other.identity if other else self._identity
    scorer = Scorer(
      store=Store(self.folder / "reference", identity, self._shared()),
      learner=other.scorer(self.learner) if other else self.learner,
      params=other.params if other else self._first,
      batch_size=config.batch_size,
      stop=stop,
    )
    if config.grow is None:
      return Once(self._with_reference(begin, scorer), self.sampler)
    train = {"train": self.inputs.train}
    held = {k: v for k, v in self.inputs.rows.items() if k != "train"}
    data = dataclasses.replace(self.inputs, rows=held)
    data = data.with_reference(self.sampler, range(0), scorer)
    return Growing(
      config=config,
      loss=self.learner.loss,
      held=dataclasses.replace(data, rows={**train, **data.rows}),
      log=self._log,
      sampler=self.sampler if self._asked is None else None,
      kept=Kept(self.folder),
      maker=self._maker(stop),
      choice=reference_config.parse(config.reference),
      scorer=scorer,
      identity=identity,
      oldest=lambda: min(checkpoints.steps, default=0),
    )

  def _maker(self, stop: Stop) -> Maker | None:
    """What draws and scores samples, in rounds that have them."""
    config, asked, grow = self.config, self._asked, self.config.grow
    if asked is None or grow is None or self._score is None:
      return None

    def train(stage: Config) -> None:
      Run(stage).train(stop, verbose=False)

    return Maker(
      config=config,
      asked=asked,
      drawer=Drawer(
        tokenizer=self.inputs.tokenizer,
        mesh=self.learner.mesh,
        options=grow,
        width=asked.lengths[0],
        longest=asked.lengths[1],
        batch=drawing.batch_of(
          self.learner.mesh,
          config.microbatches,
          config.batch_size * self.inputs.train.completion_index.shape[1],
        ),
        stop=stop,
      ),
      model=self.learner.model,
      score=self._score,
      tokenizer=self.inputs.tokenizer,
      other=self._other,
      judge=self._judge,
      held=making.drawn(self.inputs.held_prompts, grow, config.seed),
      external=self._external,
      refits=Refits.of(
        config,
        folder=self.folder / refitting.FOLDER,
        prompts=asked.prompts,
        tokenizer=self.inputs.tokenizer,
        samples=Kept(self.folder).samples,
        first=self._score,
        train=train,
        pieces=sharding.batch_pieces(self.learner.mesh),
      ),
    )

  def _with_reference(self, begin: int, scorer: Scorer) -> Batches:
    """The batches with the reference's log-probs, packed if asked for."""
    config, mesh = self.config, self.learner.mesh
    data = self.inputs.with_reference(
      self.sampler, range(begin, config.last_step), scorer
    )
    if not config.packing:
      return data
    shards = math.prod(mesh.shape[axis] for axis in sharding.BATCH_AXES)
    cut = Cut(shards, config.microbatches, self.learner.model.width)
    return data.packed(
      self.learner.loss, self.sampler, config.last_step, config.batch_size, cut
    )


def learner_config(config: Config) -> LearnerConfig:
  """Collects the options of the learner, as a run and its plan have them."""
  return LearnerConfig(
    value=config.value,
    lora=config.lora,
    optimizer=config.optimizer,
    steps=config.last_step,
    microbatches=config.microbatches,
    remat=config.remat,
    logp_chunk=config.logp_chunk,
    attention=config.attention,
    router_aux_loss_coef=config.router_aux_loss_coef,
    ptx=None if config.ptx is None else config.ptx.coef,
    compute_dtype=(
      None if config.compute_dtype == "float32" else config.compute_dtype
    ),
  )
