"""Print what a run begins with: data, model, loss and mesh."""

import dataclasses
import json
import pathlib

import jax

from offalign.distributed import hosts, sharding
from offalign.files import write_atomically
from offalign.learner import Learner
from offalign.training.batches import Batches
from offalign.types import Params


def report(
  folder: pathlib.Path,
  inputs: Batches,
  learner: Learner,
  params: Params,
  begin: int,
) -> None:
  """Prints what a run begins with, and lists the rows that it left out.

  Args:
    folder: the run folder.
    inputs: the rows.
    learner: the learner.
    params: the policy's.
    begin: the step that the run goes on after, or 0.
  """
  for sentence in inputs.sentences:
    hosts.say(sentence)
  if inputs.problems:
    path = folder / "bad_rows.jsonl"
    problems = map(dataclasses.asdict, inputs.problems)
    lines = [json.dumps(problem) + "\n" for problem in problems]
    write_atomically(path, "".join(lines))
    hosts.say(f"{len(lines)} problems of rows left out are listed in {path}")
  trained = jax.eval_shape(learner.fresh, params).params
  hosts.say(
    f"{learner.model.spec}, {_size(params):,} params, {_size(trained):,} to "
    f"train, loss {learner.loss}, {sharding.describe(learner.mesh)}"
  )
  for sentence in sharding.unsplit(learner.mesh, learner.model.splits):
    hosts.say(f"mesh: {sentence}")
  if begin:
    hosts.say(f"going on after step {begin} of {folder}")


def _size(params: Params) -> int:
  return sum(x.size for x in jax.tree.leaves(params))
