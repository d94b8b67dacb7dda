"""Print what a run begins with: data, model, loss and mesh."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

import jax

from offalign.data import Problem
from offalign.distributed import hosts, sharding
from offalign.errors import option
from offalign.files import write_atomically
from offalign.learner import Learner
from offalign.losses import Loss
from offalign.models import attending
from offalign.types import Params


def report(
  folder: pathlib.Path,
  sentences: Sequence[str],
  problems: Sequence[Problem],
  learner: Learner,
  params: Params,
  begin: int,
) -> None:
  """Prints what a run begins with, and lists the rows that it left out.

  Args:
    folder: the run folder.
    sentences: what was read, and what was chosen for the run.
    problems: bad rows that were left out.
    learner: the learner.
    params: the policy's.
    begin: the step that the run goes on after, or 0.
  """
  for sentence in sentences:
    hosts.say(sentence)
  if problems:
    path = folder / "bad_rows.jsonl"
    listed = map(dataclasses.asdict, problems)
    lines = [json.dumps(problem) + "\n" for problem in listed]
    write_atomically(path, "".join(lines))
    hosts.say(f"{len(lines)} problems of rows left out are listed in {path}")
  trained = jax.eval_shape(learner.fresh, params).params
  hosts.say(
    f"{learner.model.spec}, {_size(params):,} params, {_size(trained):,} to "
    f"train, loss {learner.loss}, {sharding.describe(learner.mesh)}"
  )
  if learner.model.attending is not None:
    why = attending.why_not(learner.model, learner.mesh)
    if why is not None and learner.mesh.devices.flat[0].platform != "tpu":
      why = ""
    hosts.say(attending.describe(learner.attention, why))
  for sentence in sharding.unsplit(learner.mesh, learner.model.splits):
    hosts.say(f"mesh: {sentence}")
  if begin:
    hosts.say(f"going on after step {begin} of {folder}")


def untrained(loss: Loss) -> list[str]:
  """Warns where a loss would hold new weights close to themselves."""
  if not (loss.has_reference or {"ref_prefix_logps", "kl"} & set(loss.needs)):
    return []
  return [
    f"warning: the model is new, and {loss.name} would align its random "
    "weights against themselves: first train a run with "
    f"{option('loss', 'sft')} and begin this one with {option('init', 'RUN')}, "
    f"or begin with a checkpoint, {option('model', 'FOLDER')}"
  ]


def _size(params: Params) -> int:
  return sum(x.size for x in jax.tree.leaves(params))
