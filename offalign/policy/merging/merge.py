"""Merge checkpoints of runs into a run folder of its own."""

import dataclasses
import functools
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from offalign.data.batches import reward_scales
from offalign.distributed import hosts
from offalign.errors import UserError, option
from offalign.files import write_atomically, write_json
from offalign.learner import TrainState
from offalign.models.hf.folder import whole_or_nothing
from offalign.policy import held_out, origin
from offalign.policy.checkpoint import Checkpoints
from offalign.policy.folder import ABOUT, TOKENIZER
from offalign.policy.merging import rules
from offalign.policy.merging.base import Base
from offalign.policy.merging.sources import Name, Source, alike
from offalign.policy.policy import Policy

HOW = ("mean", "slerp", "ties", "ema")
KEY = "merged"
"""Key of the run.json of a merge: which runs, which steps, and how."""

_READ_BY = {
  "weights": ("mean", "slerp", "ties"),
  "base": ("ties",),
  "density": ("ties",),
  "scale": ("ties",),
  "decay": ("ema",),
}


@dataclasses.dataclass(frozen=True)
class _Plan:
  """What a merge does with each tensor, and what is recorded of it."""

  shares: list[float]
  merged: Callable[[Name, tuple[int, ...]], np.ndarray]
  options: dict[str, Any]


def merge_runs(
  runs: Sequence[str | pathlib.Path],
  out: str | pathlib.Path,
  *,
  how: str = "mean",
  weights: Sequence[float] | None = None,
  steps: Sequence[str | int] | None = None,
  base: str | pathlib.Path | None = None,
  density: float | None = None,
  scale: float | None = None,
  decay: float | None = None,
  verbose: bool = True,
) -> Policy:
  """Merges the weights of runs, policies or reward models, into one.

  The result is a run folder that is opened, exported, compared and started
  from like any other, but not trained further in place. Adapters that LoRA
  trained are merged as whole weights, W + scale A B: the mean of A times the
  mean of B is another matrix. One tensor is read at a time.

  Args:
    runs: run folders; of ema, the one whose checkpoints are averaged.
    out: a new folder; it is there whole or not at all.
    how: "mean"; "slerp", of two runs, each tensor along the sphere; "ties",
      TIES-Merging (arXiv:2306.01708) of what each run changed; "ema", an
      exponential moving average over the checkpoints of one run.
    weights: how much each run counts, 0 or above; divided by their sum.
      Default: all alike. Of slerp, the second's share is the place on the way
      from the first.
    steps: of the checkpoints, "newest", "best" or a number: one for each run,
      or one for all; default "newest". Of ema, those to average; default: all
      that the run has kept.
    base: of ties, the run folder or model folder that changes are counted
      from; default: what all runs began with.
    density: of ties, the share of each run's changes that is kept, the largest
      ones; default 0.2.
    scale: of ties, the factor on the merged change; default 1.
    decay: of ema, above 0 and below 1; default 0.9.
    verbose: says what a reader of the result should know.

  Returns:
    The merge, opened.

  Raises:
    UserError: for runs that do not belong together, weights that are not
      finite, or an option that this kind of merge does not read.
  """
  given = {
    "weights": weights,
    "base": base,
    "density": density,
    "scale": scale,
    "decay": decay,
  }
  _check_options(how, given)
  if isinstance(runs, str | pathlib.Path):
    raise UserError(f"runs is one name, {runs}: give a list of run folders")
  sources = _open(list(runs), how, steps)
  _check_distinct(sources)
  alike(sources)
  plan = _plan(how, sources, given)
  out = pathlib.Path(out)
  with whole_or_nothing(out) as part:
    said = _write_folder(part, out, sources, how)
    names = sources[0].names()
    for source in sources:
      source.begin()
    flat = {name: plan.merged(name, shape) for name, shape in names.items()}
    params = traverse_util.unflatten_dict(flat)
    step = max(source.step for source in sources)
    about = _about(sources, out, how, plan)
    with Checkpoints(part, keep=1) as checkpoints:
      checkpoints.save(TrainState(jnp.int32(step), params, {}), about)
    write_json(part / ABOUT, about)  # last, which makes it a run
  for sentence in said if verbose else ():
    hosts.say(sentence)
  return Policy.load(out)


def refuse_training(folder: pathlib.Path, about: dict[str, Any] | None) -> None:
  """Refuses to train on in the folder of a merge.

  Raises:
    UserError: where the folder is one.
  """
  if about is not None and KEY in about:
    raise UserError(
      f"{folder} is a merge of runs, and has no optimiser's state to go on "
      f"with: start from it ({option('init', folder)}) in another "
      f"{option('out')}"
    )


def _check_options(how: str, given: dict[str, Any]) -> None:
  if how not in HOW:
    raise UserError(
      f"{option('how', repr(how))} is no merge: choose one of {', '.join(HOW)}"
    )
  for name, by in _READ_BY.items():
    if given[name] is not None and how not in by:
      raise UserError(
        f"{option(name, given[name])} is for {' and '.join(by)}, and this "
        f"merge is {how}; leave it out"
      )


def _open(
  runs: list[str | pathlib.Path],
  how: str,
  steps: Sequence[str | int] | None,
) -> list[Source]:
  wanted = [str(step) for step in steps or ()]
  if how == "ema":
    if len(runs) != 1:
      raise UserError(
        f"ema averages the checkpoints of one run, not {len(runs)} runs: name "
        "one, or merge the runs by mean"
      )
    (run,) = runs
    if not wanted:
      newest = Source(run, "newest")
      with Checkpoints(newest.folder) as checkpoints:
        wanted = [str(step) for step in checkpoints.steps]
    sources = [Source(run, step) for step in wanted]
    if len(sources) < 2:
      raise UserError(
        f"{run} has one checkpoint to average, at step {sources[0].step}, and "
        f"ema needs two: train with a larger {option('keep')}"
        if not steps
        else f"{option('steps')} names one checkpoint, and ema needs two"
      )
    return sorted(sources, key=lambda source: source.step)
  if len(runs) < 2:
    raise UserError(
      f"a merge is of two runs or more, not {len(runs)}: name another"
    )
  if how == "slerp" and len(runs) != 2:
    raise UserError(
      f"slerp is of two runs, not {len(runs)}: there is one great circle "
      "through two points; merge more by mean or ties"
    )
  if len(wanted) <= 1:
    wanted = (wanted or ["newest"]) * len(runs)
  if len(wanted) != len(runs):
    raise UserError(
      f"{option('steps')} are {len(wanted)}, and there are {len(runs)} runs: "
      "give one for each, or one for all"
    )
  return [Source(*both) for both in zip(runs, wanted, strict=True)]


def _check_distinct(sources: list[Source]) -> None:
  seen: set[tuple[pathlib.Path, int]] = set()
  for source in sources:
    key = (source.folder.resolve(), source.step)
    if key in seen:
      raise UserError(
        f"{source.where} comes twice: {option('weights')} say how much a run "
        "counts"
      )
    seen.add(key)


def _plan(how: str, sources: list[Source], given: dict[str, Any]) -> _Plan:
  shares = rules.shares(given["weights"], len(sources))
  options: dict[str, Any] = {}
  if how == "ties":
    return _ties(sources, shares, given)
  if how == "slerp":
    a, b = sources
    return _Plan(
      shares,
      lambda name, _: rules.slerp(a.read(name), b.read(name), shares[1]),
      options,
    )
  if how == "ema":
    decay = 0.9 if given["decay"] is None else float(given["decay"])
    shares, options = rules.ema_shares(len(sources), decay), {"decay": decay}
  # In an order of their own, so that the runs may be named in any.
  order = sorted(
    range(len(sources)),
    key=lambda i: (str(sources[i].folder.resolve()), sources[i].step),
  )

  def mean(name: Name, _: tuple[int, ...]) -> np.ndarray:
    read = (sources[i].read(name) for i in order)
    return rules.mean(read, [shares[i] for i in order])

  return _Plan(shares, mean, options)


def _ties(
  sources: list[Source], shares: list[float], given: dict[str, Any]
) -> _Plan:
  density = 0.2 if given["density"] is None else float(given["density"])
  scale = 1.0 if given["scale"] is None else float(given["scale"])
  if not 0 < density <= 1:
    raise UserError(
      f"{option('density', density)} must be above 0 and at most 1: it is the "
      "share of each run's changes that is kept"
    )
  if not (scale > 0 and np.isfinite(scale)):
    raise UserError(f"{option('scale', scale)} must be above 0 and finite")
  base, names = Base(given["base"], sources), sources[0].names()

  def changes(source: Source) -> Iterator[np.ndarray]:
    for name, shape in names.items():
      yield rules.difference(source.read(name), base.read(name, shape))

  kept_from = [
    rules.smallest_kept(functools.partial(changes, source), density)
    for source in sources
  ]

  def merged(name: Name, shape: tuple[int, ...]) -> np.ndarray:
    return rules.ties(
      base.read(name, shape),
      (source.read(name) for source in sources),
      shares=shares,
      kept_from=kept_from,
      scale=scale,
    )

  options = {"base": base.said, "density": density, "scale": scale}
  return _Plan(shares, merged, options)


def _about(
  sources: list[Source], out: pathlib.Path, how: str, plan: _Plan
) -> dict[str, Any]:
  """The run.json: the first run's, but for what the merge makes otherwise."""
  first = sources[0].about
  config = {k: v for k, v in first["config"].items() if k[:5] != "lora."}
  config |= {"out": str(out), "lora": None, "keep_best": None}
  starts = dict.fromkeys(str(source.about["start"]) for source in sources)
  if len(starts) > 1:
    config |= {"init": None, "init_step": None}
  data = dict.fromkeys(str(source.about["data"]) for source in sources)
  return {
    **first,
    "config": config,
    "start": " + ".join(starts),
    "data": " + ".join(data),
    KEY: {
      "how": how,
      **plan.options,
      "runs": [
        {
          "run": str(source.folder),
          "step": source.step,
          "share": share,
          "loss": source.about.get("loss"),
          "data": source.about["data"],
          "weights": source.digest,
        }
        for source, share in zip(sources, plan.shares, strict=True)
      ],
    },
  }


def _write_folder(
  part: pathlib.Path, out: pathlib.Path, sources: list[Source], how: str
) -> list[str]:
  """Writes all but weights and run.json; returns what is to be said."""
  first = sources[0]
  shutil.copytree(first.folder / TOKENIZER, part / TOKENIZER)
  if origin.is_kept(first.about["model"]):
    origin.hand_on(first.folder, part)
  said = _keep_held_out(part, out, sources)
  scales = [source.folder / reward_scales.FILE for source in sources]
  whole = all(path.exists() for path in scales)
  if whole and len({path.read_bytes() for path in scales}) == 1:
    shutil.copyfile(scales[0], part / reward_scales.FILE)
  losses = dict.fromkeys(str(source.about.get("loss")) for source in sources)
  if len(losses) > 1:
    said.append(
      f"note: the runs were trained by {', '.join(losses)}; {out} is called by "
      "the first, and its run.json lists all"
    )
  starts = {str(source.about["start"]) for source in sources}
  if len(starts) > 1 and how != "ties":
    said.append(
      "note: the runs began with different weights, and weights of networks "
      "that were not one to begin with rarely average to a good one: compare "
      f"{out} with the runs"
    )
  for name in ("data.max_prompt", "data.max_completion"):
    limits = dict.fromkeys(s.about["config"].get(name) for s in sources)
    if len(limits) > 1:
      said.append(
        f"note: {option(name)} of the runs is {', '.join(map(str, limits))}; "
        f"{out} has the first"
      )
  if not first.has_rewards and any(
    (s.folder / "checkpoints" / str(s.step) / "value").is_dir() for s in sources
  ):
    said.append(
      f"value functions stay with the runs: {out} has the policy alone"
    )
  return said


def _keep_held_out(
  part: pathlib.Path, out: pathlib.Path, sources: list[Source]
) -> list[str]:
  """Keeps the rows that all hold out, and which prompts were trained on."""
  known = [held_out.read_known(source.folder) for source in sources]
  whole = [x for x in known if x is not None]
  if len(whole) == len(known):
    trained = frozenset[int]().union(*(x.trained for x in whole))
    held = frozenset.intersection(*(x.held for x in whole)) - trained
    both = held_out.Known(trained, held)
    held_out.write(part, [], [], both)
  files = [source.folder / held_out.FILE for source in sources]
  if not all(path.exists() for path in files):
    return [f"note: not all of the runs held rows out, so {out} has none"]
  first, *others = (
    path.read_text(encoding="utf-8").splitlines(keepends=True) for path in files
  )
  common = set(first).intersection(*others)
  kept = [line for line in first if line in common]
  if not kept:
    return [f"note: the runs held out no row in common, so {out} has none"]
  write_atomically(part / held_out.FILE, "".join(kept))
  return []
