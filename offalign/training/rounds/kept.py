"""The folders of rounds, RUN/rounds/1 and so on: each is whole or not there.

A round is made in a folder beside, and moved to its name when all of it is on
the disk. It holds "samples.npz", what was drawn and its scores, which a run
that goes on reads again; "samples.jsonl", the same as text, for people;
"round.json"; and, where the reference moves, its log-probs and, where a run
that goes on needs them, its weights: "average.npz", of `round` the policy's.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from offalign.data.text.ragged import Ragged
from offalign.distributed import hosts
from offalign.errors import UserError
from offalign.files import read_object, write_atomically, write_json, writing
from offalign.generation import completions
from offalign.generation.completions import Prompt
from offalign.training.rounds.drawing import Drawn
from offalign.types import Params

FOLDER = "rounds"
_ARRAYS, _TEXT, _ABOUT = "samples.npz", "samples.jsonl", "round.json"
_AVERAGE = "average.npz"
_CURE = "; delete the folder of rounds and the checkpoints, and start again"


@dataclasses.dataclass(frozen=True)
class Samples:
  """The samples of a round: n prompts, each with K completions.

  Attributes:
    prompts: int [n], which of the run's prompts.
    drawn: n x K completions, those of a prompt one after the other.
    scores: float64 [n, K], as they were given; NaN of one that an endpoint
      would not score.
  """

  prompts: np.ndarray
  drawn: Drawn
  scores: np.ndarray


class Kept:
  """The folders of a run's rounds."""

  def __init__(self, run: pathlib.Path):
    """Takes the run folder; writes nothing."""
    self._folder = run / FOLDER

  def path(self, number: int) -> pathlib.Path:
    """The folder of a round."""
    return self._folder / str(number)

  def has(self, number: int) -> bool:
    """Whether a round is there, which it is as a whole.

    Every process calls this, and gets the same answer.
    """
    return hosts.anywhere(self.path(number).is_dir())

  @contextlib.contextmanager
  def making(self, number: int) -> Iterator[pathlib.Path]:
    """A folder to make a round in; leaving it puts the round in its place.

    Every process enters and leaves it, and the first writes. None goes on
    before the round is in its place.

    Raises:
      Unwritten: in the first process, where it cannot be written.
    """
    part = self._folder / f"{number}.part"
    if hosts.is_first():
      with writing(part):
        shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
        part.mkdir(parents=True)
    hosts.wait(f"round {number} is begun")
    yield part
    if hosts.is_first():
      with writing(part):
        _to_disk(part)
        part.replace(self.path(number))
        _to_disk(self._folder)
    hosts.wait(f"round {number} is kept")

  def about(self, number: int) -> dict[str, Any]:
    """The round.json of a round."""
    return read_object(self.path(number) / _ABOUT, _CURE)

  def samples(self, number: int) -> Samples:
    """The samples of a round.

    Raises:
      UserError: where they cannot be read.
    """
    path = self.path(number) / _ARRAYS
    try:
      with np.load(path, allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
      tokens = Ragged(found["tokens"], found["offsets"])
      each = Ragged(found["token_logps"], found["offsets"])
      drawn = Drawn(tokens, found["logps"], each, found["finished"])
      return Samples(found["prompts"], drawn, found["scores"])
    except Exception as error:  # damage takes many forms
      raise UserError(f"{path} cannot be read ({error}){_CURE}") from None

  def average(self, number: int, like: Params) -> Params:
    """The weights of a reference that moves, as they are kept in a round.

    Args:
      number: of the round.
      like: the shapes, dtypes and shardings of the weights.

    Raises:
      UserError: where they cannot be read.
    """
    path = self.path(number) / _AVERAGE
    leaves, tree = jax.tree.flatten(like)
    try:
      with np.load(path, allow_pickle=False) as file:
        found = [file[str(i)] for i in range(len(leaves))]
    except Exception as error:  # damage takes many forms
      raise UserError(f"{path} cannot be read ({error}){_CURE}") from None
    return jax.tree.unflatten(
      tree,
      [
        jax.device_put(each.astype(leaf.dtype), leaf.sharding)
        for each, leaf in zip(found, leaves, strict=True)
      ],
    )

  def forget_averages(self, before: int) -> None:
    """Deletes such weights of rounds that no checkpoint goes on from."""
    if not hosts.is_first():
      return
    for path in self._folder.glob(f"*/{_AVERAGE}"):
      if path.parent.name.isdecimal() and int(path.parent.name) < before:
        path.unlink(missing_ok=True)


def write_samples(
  folder: pathlib.Path,
  samples: Samples,
  prompts: Sequence[Prompt],
  texts: Sequence[str],
  **more: str,
) -> None:
  """Writes a round's samples, in the first process.

  Args:
    folder: of the round.
    samples: n prompts with K completions.
    prompts: n.
    texts: n x K.
    more: further keys of each line for people.

  Raises:
    Unwritten: where a file cannot be.
  """
  if not hosts.is_first():
    return
  drawn = samples.drawn
  _write_arrays(
    folder / _ARRAYS,
    {
      "prompts": samples.prompts,
      "tokens": drawn.tokens.tokens,
      "offsets": drawn.tokens.offsets,
      "logps": drawn.logps,
      "token_logps": drawn.token_logps.tokens,
      "finished": drawn.finished,
      "scores": samples.scores,
    },
  )
  each = samples.scores.shape[1]
  # A log and some engines tell none, and a file's lines have the same columns.
  known = bool(np.isfinite(drawn.logps).all())

  def logprobs(i: int) -> dict[str, list[float]]:
    return {"logprobs": [float(x) for x in drawn.token_logps[i]]}

  lines = [
    completions.line(
      prompts[i // each],
      text,
      reward=_known(samples.scores.flat[i]),
      completion_ids=drawn.tokens[i].tolist(),
      **(logprobs(i) if known else {}),
      tokens=len(drawn.tokens[i]),
      finished=bool(drawn.finished[i]),
      **more,
    )
    for i, text in enumerate(texts)
  ]
  write_atomically(folder / _TEXT, "".join(f"{line}\n" for line in lines))


def _known(score: float) -> float | None:
  return float(score) if np.isfinite(score) else None


def write_about(folder: pathlib.Path, about: dict[str, Any]) -> None:
  """Writes the round.json of a round, in the first process."""
  if not hosts.is_first():
    return
  write_json(folder / _ABOUT, json.loads(json.dumps(about)))


def write_average(folder: pathlib.Path, params: Params) -> None:
  """Writes the weights of a reference that moves.

  Every process calls this, and the first writes.
  """
  leaves = hosts.whole(jax.tree.leaves(params))
  if not hosts.is_first():
    return
  _write_arrays(
    folder / _AVERAGE,
    {str(i): np.asarray(x, np.float32) for i, x in enumerate(leaves)},
  )


def _write_arrays(path: pathlib.Path, arrays: dict[str, Any]) -> None:
  with writing(path), path.open("wb") as file:
    np.savez(file, **arrays)
    file.flush()
    os.fsync(file.fileno())


def _to_disk(folder: pathlib.Path) -> None:
  """Has the names in a folder written, where the system can do that."""
  try:
    descriptor = os.open(folder, os.O_RDONLY)
  except OSError:
    return
  try:
    os.fsync(descriptor)
  except OSError:
    pass
  finally:
    os.close(descriptor)
