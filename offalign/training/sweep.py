"""Train the cells of a sweep, one after another, in one process.

Each cell is a plain run in a folder of its own. They share the split of the
data and, in the cache, tokens and the reference's log-probs, which the first
run of a start computes for all.
"""

import contextlib
import dataclasses
import gc
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jax.errors import JaxRuntimeError

from offalign import losses, user_code
from offalign.config import Config, arguments
from offalign.config.config import CHANGEABLE, check, flat
from offalign.data.reading.records import count
from offalign.distributed import hosts
from offalign.distributed.signals import Stop, Stopped
from offalign.errors import OPTIONS, UserError, concerning, option
from offalign.files import Unwritten
from offalign.judges.win_rates import wilson
from offalign.policy.folder import ABOUT, read_about
from offalign.sweeping import grid, record
from offalign.sweeping.grid import Axis, Cell
from offalign.sweeping.record import Measure, Sweep
from offalign.training import lock
from offalign.training.logs import describe
from offalign.training.metrics import NonFinite
from offalign.training.run import Run

CACHE = "cache"
"""Of what the cells share, in the folder of the sweep."""

_AGAIN = ("steps", "epochs", "on_divergence")
"""Changeable options after which a cell that is done goes on."""
_ACCURACY = "eval_rewards/accuracies"
_Z = 1.959963984540054  # of 95%


def run_sweep(
  *,
  out: str | os.PathLike[str],
  seeds: int = 1,
  verbose: bool = True,
  **options: Any,
) -> Sweep:
  """Trains a grid of runs; `compare_sweep` says which is better.

    oa.run_sweep(loss="dro_v(tau={0.3,1,3})", seeds=3, data=rows,
                 init="runs/sft", out="sweep")

  Cells that an earlier call has trained are not trained again.

  Args:
    out: the folder of the sweep; each cell is a run in a folder there.
    seeds: of each cell, from 0.
    verbose: says what is done.
    options: of `Run`. Text may have braces, {a,b,c}, and a list stands for
      its values; the rows of `data` are as for `Run`.

  Returns:
    The cells, with what became of each: `done` and `failed`.

  Raises:
    UserError: for a mistake in an option, or a folder that holds cells of
      other options.
    Stopped: see `Run.train`.
  """
  settings = grid.read(_settings(options))
  axes, cells = grid.make(settings, seeds)
  planned = [
    (cell, arguments.read(_with(options, cell.options) | {"out": str(out)}))
    for cell in cells
  ]
  return train(axes, planned, verbose=verbose)


def train(
  axes: tuple[Axis, ...],
  planned: Sequence[tuple[Cell, Config]],
  stop: Stop | None = None,
  *,
  verbose: bool = True,
) -> Sweep:
  """Trains the cells that are not trained yet.

  Args:
    axes: what differs between the cells.
    planned: the cells with their configurations, whose `out` is the folder of
      the sweep.
    stop: looked at after each batch, and between cells.
    verbose: says what is done.

  Returns:
    The cells, with what became of each.

  Raises:
    UserError: see `run_sweep`; or where no cell could begin.
    Unwritten: where a file cannot be written.
    Stopped: where the sweep was asked to stop.
  """
  stop = stop or Stop()
  folder = pathlib.Path(planned[0][1].out)
  configs = {cell.name: _own(cell, config) for cell, config in planned}
  cells = {cell.name: (cell, _given(configs[cell.name])) for cell, _ in planned}
  _check(folder, configs)
  lock.check(folder)
  sweep = record.begin(folder, axes, cells)
  _go_on(sweep, {name: given for name, (_, given) in cells.items()})
  _refuse_strangers(sweep, configs)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(
      f"{option('out', folder)} cannot be a folder: {error.strerror}"
    ) from None
  with hosts.silent(not verbose), lock.locked(folder):
    sweep.write()
    hosts.say(_begun(sweep))
    for number, (name, config) in enumerate(configs.items(), 1):
      if sweep.cells[name].state in ("done", "diverged"):
        continue
      hosts.say(f"cell {number} of {len(configs)}: {name}")
      _cell(sweep, name, config, stop, verbose)
  _refuse_mistake(sweep)
  return sweep


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
  """Option with dots -> value; rows in memory are no list of values."""
  found: dict[str, Any] = {}
  for name, value in options.items():
    if name == "data" and not isinstance(value, Mapping):
      value = {"path": value}
    if not isinstance(value, Mapping):
      found[name] = value
      continue
    for inner, each in value.items():
      rows = name == "data" and inner in ("path", "eval_path")
      if not (rows and not isinstance(each, str)) and inner != "columns":
        found[f"{name}.{inner}"] = each
  return found


def _with(
  options: Mapping[str, Any], filled: Mapping[str, Any]
) -> dict[str, Any]:
  """The options with those of a cell in place of braces and lists."""
  out = dict(options)
  for name, value in filled.items():
    group, _, inner = name.rpartition(".")
    if not group:
      out[name] = value
      continue
    given = out[group]
    fields = dict(given) if isinstance(given, Mapping) else {"path": given}
    out[group] = fields | {inner: value}
  return out


def _own(cell: Cell, config: Config) -> Config:
  """The configuration of a cell: its folder, its seed, the cache of all."""
  folder = pathlib.Path(config.out)
  if config.seed:
    raise UserError(
      f"{option('seed', config.seed)} is set, and a sweep counts its seeds "
      f"from 0: leave it out, or give {option('seeds')}"
    )
  cache = config.data.cache or str(folder / CACHE)
  return dataclasses.replace(
    config,
    out=str(folder / cell.name) if config.out else "",
    seed=cell.seed,
    data=dataclasses.replace(config.data, cache=cache),
  )


def _given(config: Config) -> dict[str, Any]:
  """The options as sweep.json has them: without the folder."""
  known = {k: v for k, v in flat(config).items() if k != "out"}
  found: dict[str, Any] = json.loads(json.dumps(known, default=str))
  return found


def _check(folder: pathlib.Path, configs: Mapping[str, Config]) -> None:
  """Refuses what can be known to be wrong before anything is read."""
  for config in configs.values():
    if config.hosts is not None:
      raise UserError(
        f"{option('hosts')} is set, but a sweep runs in one process; leave "
        "it out"
      )
    user_code.load_all(config.imports)
    with concerning(option("loss")):
      losses.get(config.loss)
    check(config)
  if folder.is_file():
    raise UserError(f"{option('out', folder)} is a file: name a folder")
  if (folder / ABOUT).exists():
    raise UserError(
      f"{option('out', folder)} is a run folder: name another for the sweep"
    )


def _go_on(sweep: Sweep, given: Mapping[str, dict[str, Any]]) -> None:
  """Takes the options of now, where they may differ from those before."""
  for name, known in sweep.cells.items():
    now, before = given[name], known.config
    changed = {
      key for key in {*now, *before} if now.get(key) != before.get(key)
    }
    _refuse(sweep.folder / name, before, now, changed - CHANGEABLE)
    state = known.state
    gone = not (sweep.folder / name / ABOUT).exists()
    if (state == "done" and gone) or changed & {*_AGAIN}:
      state = "waiting"
    sweep.cells[name] = dataclasses.replace(known, config=now, state=state)


def _refuse_strangers(sweep: Sweep, configs: Mapping[str, Config]) -> None:
  """Refuses folders of cells that hold a run of other options."""
  for name, config in configs.items():
    folder = sweep.folder / name
    known = read_about(folder)
    if known is None:
      continue
    now, before = flat(config), known["config"]
    changed = {
      key
      for key, value in now.items()
      if value is not None and before.get(key) != value
    }
    _refuse(folder, before, now, changed - CHANGEABLE)


def _refuse(
  folder: pathlib.Path,
  before: Mapping[str, Any],
  now: Mapping[str, Any],
  changed: set[str],
) -> None:
  if changed:
    named = "; ".join(
      f"{option(key)} was {before.get(key)!r}, is {now.get(key)!r}"
      for key in sorted(changed)
    )
    raise UserError(
      f"{folder} holds a cell with other {OPTIONS} ({named}): give the same "
      f"{OPTIONS} to go on with it, or name another {option('out')}"
    )


def _begun(sweep: Sweep) -> str:
  axes = "; ".join(f"{a.name} {', '.join(a.values)}" for a in sweep.axes)
  left = sum(
    cell.state in ("waiting", "failed") for cell in sweep.cells.values()
  )
  total = len(sweep.cells)
  rest = "" if left == total else f", {left} of them to train"
  return (
    f"sweep: {count(total, 'cell')} in {sweep.folder}{rest} "
    f"({axes + '; ' if axes else ''}{count(sweep.seeds, 'seed')})"
  )


def _cell(
  sweep: Sweep, name: str, config: Config, stop: Stop, verbose: bool
) -> None:
  """Trains one cell, and writes down what became of it."""
  try:
    with _stopping():
      run = Run(config)
      run.train(stop, verbose=verbose)
      measure = _measure(run)
      hosts.say(f"{name}: {describe(run.held_out, run.pairs)}")
    sweep.note(name, state="done", why="", measure=measure)
    # A signal that came in the last step has been noted alone.
    with _stopping():
      stop.check()
    return
  except Unwritten:
    raise
  except UserError as error:
    state, why = "failed", error.marked
  except NonFinite as error:
    state, why = "diverged", getattr(error.args[0], "marked", str(error))
  except JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    state, why = "failed", "there is not enough memory on the device"
  finally:
    gc.collect()  # the weights and programs of this cell, before the next
  hosts.say(f"{name} failed: {why}")
  sweep.note(name, state=state, why=str(UserError(why)), measure=None)


@contextlib.contextmanager
def _stopping() -> Iterator[None]:
  """Has a sweep that is asked to stop between two cells say so."""
  try:
    yield
  except Stopped as stopped:
    if str(stopped):
      raise
    what = "interrupted" if stopped.interrupted else "asked to stop"
    raise Stopped(
      f"{what}: the cells that are trained are kept; the same command goes on",
      interrupted=stopped.interrupted,
    ) from None


def _measure(run: Run) -> Measure | None:
  """How well the run ranks held-out feedback, after its last step."""
  held, pairs = run.held_out, run.pairs
  if _ACCURACY in held and pairs:
    low, high = wilson(held[_ACCURACY], pairs)
    return Measure("accuracy", held[_ACCURACY], (high - low) / (2 * _Z))
  if run.auc is not None:
    width = run.auc.high - run.auc.low
    return Measure("AUC", run.auc.value, width / (2 * _Z))
  return None


def _refuse_mistake(sweep: Sweep) -> None:
  """Raises what kept every cell from beginning, where it is one mistake."""
  reasons = {cell.why for cell in sweep.cells.values()}
  began = any((sweep.folder / name / ABOUT).exists() for name in sweep.cells)
  states = {cell.state for cell in sweep.cells.values()}
  if states == {"failed"} and len(reasons) == 1 and not began:
    raise UserError(f"no cell could begin: {reasons.pop()}")
