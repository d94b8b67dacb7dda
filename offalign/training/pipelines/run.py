"""Train the stages of a pipeline, one after another, in one process.

Each stage is a plain run in a folder of its own, and its command trains the
same run. A pipeline that is stopped anywhere goes on with that stage.
"""

import contextlib
import dataclasses
import gc
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from offalign import losses, user_code
from offalign.config import reference as reference_config
from offalign.config.config import check, flat
from offalign.data.reading.memory import Rows
from offalign.distributed import hosts
from offalign.distributed.signals import Stop, Stopped
from offalign.errors import UserError, concerning, option
from offalign.files import Unwritten
from offalign.generation import completions
from offalign.policy import reference as other_reference
from offalign.policy.folder import ABOUT, read_about
from offalign.training import lock, sources, views
from offalign.training.logs import describe
from offalign.training.metrics import NonFinite
from offalign.training.pipelines import recipes, record, report
from offalign.training.pipelines.recipes import REWARD_MODEL
from offalign.training.pipelines.record import Known, Pipeline
from offalign.training.pipelines.stages import Stage, flatten, plan
from offalign.training.rounds import checks, schedule, scoring
from offalign.training.run import Run
from offalign.training.split import Split

_AGAIN = ("steps", "epochs")
"""Options that make a stage that is done go on."""


def run_pipeline(
  name: str,
  *,
  out: str | os.PathLike[str],
  verbose: bool = True,
  **options: Any,
) -> Pipeline:
  """Trains the stages of a pipeline: rlhf, rest or iterated_dpo.

    oa.run_pipeline("rlhf", out="runs/shop", data=rows, model="decoder",
                    sft={"steps": 500}, ppo={"grow": {"rounds": 100}})

  The same call goes on where an earlier one was stopped.

  Args:
    name: of the pipeline.
    out: its folder; each stage is a run in a folder there, and pipeline.html
      shows what became of all.
    verbose: says what is done.
    options: of `Run`, for all stages that read them; and, under the name of a
      stage, a dict of the options of that stage.

  Returns:
    The stages, with what became of each.

  Raises:
    UserError: for a mistake in an option, found before anything is trained
      where that can be.
    NonFinite: see `Run.train`.
    Stopped: see `Run.train`.
  """
  recipe = recipes.get(name)
  own = {x: flatten(options.pop(x)) for x in recipes.STAGES if x in options}
  planned = plan(recipe, os.fspath(out), flatten(options), own)
  return train(recipe.name, planned, os.fspath(out), verbose=verbose)


def train(
  name: str,
  stages: Sequence[Stage],
  out: str,
  stop: Stop | None = None,
  *,
  verbose: bool = True,
) -> Pipeline:
  """Trains the stages that are not trained yet, and writes the report.

  Args:
    name: of the pipeline.
    stages: see `offalign.training.pipelines.stages.plan`.
    out: the folder of the pipeline.
    stop: looked at after each batch, and between stages.
    verbose: says what is done.

  Returns:
    The stages, with what became of each.

  Raises:
    UserError: for a mistake in an option, or a folder that holds something
      else.
    NonFinite: see `Run.train`.
    Unwritten: where a file cannot be written.
    Stopped: where the pipeline was asked to stop.
  """
  stop = stop or Stop()
  folder = pathlib.Path(out)
  if folder.is_file():
    raise UserError(f"{option('out', folder)} is a file: name a folder")
  if (folder / ABOUT).exists():
    raise UserError(
      f"{option('out', folder)} is a run folder: name another for the pipeline"
    )
  check_all(stages)
  lock.check(folder)
  pipeline = record.begin(folder, name, [_known(stage) for stage in stages])
  _refuse_going_on(pipeline, stages)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(
      f"{option('out', folder)} cannot be a folder: {error.strerror}"
    ) from None
  with hosts.silent(not verbose), lock.locked(folder):
    pipeline.write()
    for number, stage in enumerate(stages):
      where = f"stage {number + 1} of {len(stages)}, {stage.name}"
      if pipeline.stages[number].state == "done":
        hosts.say(f"{where}: done before")
        continue
      hosts.say(f"{where}: {stage.what}")
      try:
        _one(pipeline, number, stage, stop, verbose)
      finally:
        report.write(pipeline)
    hosts.say(f"page: {folder / report.PAGE}, and as text {report.TEXT}")
  return pipeline


def check_all(stages: Sequence[Stage]) -> None:
  """Finds what can be known to be wrong before anything is trained.

  Raises:
    UserError: naming the stage and the option.
  """
  for stage in stages:
    with stage.speaking():
      _check(stage)
  for stage in stages[1:]:  # the first reads its data at once
    with stage.speaking():
      _check_data(stage)


def _check(stage: Stage) -> None:
  config = stage.config
  user_code.load_all(config.imports)
  with concerning(option("loss")):
    loss = losses.get(config.loss)
  check(config)
  choice = reference_config.parse(config.reference)
  other_reference.check(config, choice, loss)
  if stage.name == REWARD_MODEL and not loss.trains_rewards:
    raise UserError(
      f"{option('loss', config.loss)} trains a policy, and this stage is to "
      "train what scores completions: take bradley_terry"
    )
  if config.grow is None:
    return
  resolved = schedule.resolve(config)
  checks.check(resolved, loss)
  prompts = config.grow.prompts
  if prompts is not None and not isinstance(prompts, Rows):
    with concerning(option("grow.prompts", prompts)):
      if not pathlib.Path(prompts).is_file():
        raise UserError("there is no such file; name JSON lines with 'prompt'")
      completions.read_prompts(prompts)
  score = config.grow.score
  if score is not None and not score.startswith("reward_model("):
    scoring.scorer(score)


def _check_data(stage: Stage) -> None:
  """Reads the data of a stage, which is to serve its loss."""
  config, loss = stage.config, losses.get(stage.config.loss)
  rounds = config.grow is not None and config.grow.score is not None
  if not config.data.path:
    if rounds and config.grow is not None and config.grow.prompts:
      return
    raise UserError(
      f"{option('data.path')} is missing: name the feedback to train on"
      + (f", or {option('grow.prompts')}" if rounds else "")
    )
  if rounds:  # which may read the completions alone
    return
  said: list[str] = []
  whole = config.data  # which prompts are held out, the first stage decides
  if whole.eval_path is None:
    whole = dataclasses.replace(whole, eval_fraction=0.0)
  found = sources.load(whole, Split(config.seed), said)
  with sources.naming_unread(said):
    seeds = (config.seed, config.seed)
    views.make(found, whole, loss, seeds, lambda what, sentences: None)


def _one(
  pipeline: Pipeline, number: int, stage: Stage, stop: Stop, verbose: bool
) -> None:
  """Trains one stage, and writes down what became of it."""
  try:
    with _stopping(stage), stage.speaking():
      stop.check()
      run = Run(stage.config)
      run.train(stop, verbose=verbose)
      hosts.say(f"{stage.name}: {describe(run.held_out, run.pairs)}")
  except Unwritten:
    raise
  except UserError as error:
    pipeline.note(number, "failed", str(error))
    raise
  except NonFinite as error:
    pipeline.note(number, "failed", str(error))
    raise
  finally:
    gc.collect()  # the weights and programs of this stage, before the next
  pipeline.note(number, "done")


@contextlib.contextmanager
def _stopping(stage: Stage) -> Iterator[None]:
  """Has a pipeline that is asked to stop between two stages say so."""
  try:
    yield
  except Stopped as stopped:
    if str(stopped):
      raise
    what = "interrupted" if stopped.interrupted else "asked to stop"
    raise Stopped(
      f"{what} before stage {stage.name}: what is trained is kept; the same "
      "command goes on",
      interrupted=stopped.interrupted,
    ) from None


def _known(stage: Stage) -> Known:
  known = {k: v for k, v in flat(stage.config).items() if k != "out"}
  config = json.loads(json.dumps(known, default=str))
  return Known(stage.folder.name, stage.command, config)


def _refuse_going_on(pipeline: Pipeline, stages: Sequence[Stage]) -> None:
  """Refuses to train a stage further that a later one has begun with."""
  begun = [read_about(stage.folder) for stage in stages]
  for i, stage in enumerate(stages[:-1]):
    about = begun[i]
    if about is None or not any(begun[i + 1 :]):
      continue
    now = flat(stage.config)
    before = about["config"]
    for name in _AGAIN:
      if now[name] is not None and before.get(name) != now[name]:
        with stage.speaking():
          raise UserError(
            f"{option(name, now[name])} was {before.get(name)}, and a later "
            "stage began with what came out: give it as before, or name "
            f"another {option('out')}"
          )
