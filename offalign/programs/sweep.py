"""offalign sweep --cfg.loss='dro_v(tau={0.3,1,3})' --seeds=3 ...

Trains a grid of runs and says which is best. {a,b,c} may stand in the value of
any --cfg flag of `offalign train`; each value, or each combination of them, is
trained with every seed, as a run in a folder of its own below --cfg.out:

  offalign sweep --cfg.data.path=log.jsonl --cfg.init=runs/sft \\
    --cfg.loss='dro_v(tau={0.3,1,3})' --seeds=3 --cfg.out=sweep \\
    --judge=my_file.py:score

All cells hold out the same prompts and share the reference's log-probs. The
same command goes on where it was stopped. It ends in FOLDER/compare.html, the
page of `offalign compare` with the grid: win rates with --judge, held-out
figures without. A failed cell does not stop the others; the status is then 1.
A brace that is meant as it stands is written twice, {{ or }}.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

from absl import flags, logging

from offalign import judges, user_code
from offalign.config import Config, presets
from offalign.distributed import hosts, interrupts
from offalign.distributed.signals import Stop, Stopped
from offalign.errors import UserError, option, render, speaking
from offalign.files import FULL, Unwritten, unwritten
from offalign.programs import flags as flags_lib
from offalign.sweeping import grid
from offalign.sweeping.grid import Axis, Cell
from offalign.sweeping.record import Sweep

_OF_JUDGE = ("baseline", "prompts", "limit", "max_new_tokens", "temperature")
_PREFIX = "cfg."

_given: list[str] = []  # the flags of the runs, as they were typed
_braces: dict[str, str] = {}  # option -> its value with braces


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Sweeps; returns the exit status."""
  logging.set_verbosity(logging.WARNING)
  values = flags.FLAGS
  try:
    flags_lib.require(argv, (), "flags that begin with --cfg., and --seeds")
    config = flags_lib.read(Config, values=values)
    if not config.out:
      raise UserError(
        f"{option('out')} is missing: name the folder of the sweep"
      )
    _check_judge()
    axes, planned = plan(_given, _braces, values.seeds)
    # Imported here, so that --help and mistakes need not wait for it.
    from offalign.training import sweep as sweep_lib

    with Stop() as stop:
      found = sweep_lib.train(axes, planned, stop)
    return _report(found)
  except Stopped as stopped:
    if stopped.interrupted:
      flags_lib.complain("offalign.sweep", str(stopped))
      return interrupts.STATUS
    hosts.say(str(stopped))
    return 0
  except KeyboardInterrupt:  # of one that does not listen for it
    flags_lib.complain(
      "offalign.sweep",
      "interrupted. The same command goes on from what is trained.",
    )
    return interrupts.STATUS
  except Unwritten as error:
    flags_lib.complain("offalign.sweep", error)
    return 1
  except UserError as error:
    flags_lib.complain("offalign.sweep", error)
    return 2
  except OSError as error:
    if error.errno not in FULL:
      raise
    where = unwritten(error.filename or str(values["cfg.out"].value), error)
    flags_lib.complain("offalign.sweep", where)
    return 1


def plan(
  given: Sequence[str], braces: dict[str, str], seeds: int
) -> tuple[tuple[Axis, ...], list[tuple[Cell, Config]]]:
  """The cells with their configurations, each read as `offalign train` would.

  Args:
    given: flags that are the same in all cells.
    braces: option -> its value with braces.
    seeds: how many.

  Raises:
    UserError: for a flag that cannot be, in one of the cells too.
  """
  axes, cells = grid.make(grid.read(braces), seeds)
  planned = []
  for cell in cells:
    more = [f"--{_PREFIX}{k}={value}" for k, value in cell.options.items()]
    read = flags.FlagValues()
    flags_lib.define(Config, values=read)
    try:
      read(["sweep", *given, *more])
    except flags.Error as error:
      raise UserError(str(error)) from None
    planned.append((cell, flags_lib.read(Config, values=read)))
  return axes, planned


def expand(argv: Sequence[str]) -> list[str]:
  """Takes the flags of the runs apart, for `plan`; see `flags.start`.

  Args:
    argv: the program and its arguments.

  Returns:
    The arguments with the first value in place of braces, so that they can be
    parsed, and --help and a typo are answered as ever.

  Raises:
    UserError: for braces that cannot be read, or an unknown preset.
  """
  _given.clear()
  _braces.clear()
  program, *rest = presets.expand(argv)
  rest = flags.FLAGS.read_flags_from_files(rest)
  out = []
  left = iter(rest)
  for arg in left:
    if arg == "--":
      out += [arg, *left]
      break
    name, equals, value = arg.lstrip("-").partition("=")
    is_flag = arg.startswith("-") and name.removeprefix("no") != ""
    if not (is_flag and name.removeprefix("no").startswith(_PREFIX)):
      out.append(arg)
      continue
    if not equals and _takes_value(name):
      value = next(left, "")
      equals = "="
    if not equals:
      _given.append(arg)
      out.append(arg)
      continue
    named = name.removeprefix(_PREFIX)
    first = _first(named, value)
    _braces.pop(named, None)
    if first is None:
      _given.append(f"--{name}={value}")
    else:
      _braces[named] = value
    out.append(f"--{name}={value if first is None else first}")
  return [program, *out]


def _first(name: str, value: str) -> str | None:
  """The first of the values in braces; None where there are none.

  Raises:
    UserError: naming the flag.
  """
  try:
    found = grid.read({name: value})
    return str(grid.make(found, 1)[1][0].options[name]) if found else None
  except UserError as error:
    raise UserError(render(error, flags_lib.of_config)) from None


def _takes_value(name: str) -> bool:
  return name in flags.FLAGS and not flags.FLAGS[name].boolean


def _check_judge() -> None:
  """Refuses flags that nothing reads, and a judge that cannot be."""
  values = flags.FLAGS
  if values["cfg.seed"].present:
    raise UserError(
      "--cfg.seed is set, and a sweep counts its seeds from 0: leave it out, "
      "or give --seeds"
    )
  if values.judge is None:
    unread = [f"--{name}" for name in _OF_JUDGE if values[name].present]
    if unread:
      raise UserError(
        f"{', '.join(unread)} is for a judge, and none is given: give --judge, "
        "or leave it out"
      )
    return
  user_code.load_all(values["cfg.imports"].value)
  judges.check(values.judge)  # before anything is trained for it


def _report(sweep: Sweep) -> int:
  """Writes the page, and says what is on it; returns the exit status."""
  from offalign.compare import grid_page, report
  from offalign.compare.sweep import compare_sweep

  values = flags.FLAGS
  given: dict[str, Any] = {name: values[name].value for name in _OF_JUDGE}
  found = compare_sweep(sweep.folder, judge=values.judge, **given)
  for line in (*grid_page.console(found), *found.said):
    flags_lib.say(line)
  for name, why in sweep.failed.items():
    flags_lib.complain("offalign.sweep", f"{name} failed: {render(why)}")
  flags_lib.say(f"page: {pathlib.Path(sweep.folder) / report.PAGE}")
  judged = [] if found.comparison is None else found.comparison.others
  silent = any(entry.duel and not entry.duel.found for entry in judged)
  return 1 if sweep.failed or silent else 0


def _flags() -> None:
  flags.DEFINE_string(
    "cfg",
    None,
    f"A preset to start from: {', '.join(presets.names())}.",
  )
  flags.DEFINE_integer("seeds", 1, "of each cell, from 0", lower_bound=1)
  for name, meaning in (
    (
      "judge",
      "my_file.py:function, or a spec: gold(...), reward_model(...) or "
      "endpoint(...); default: held-out figures are compared",
    ),
    ("baseline", "the policy to compare with; default: what the runs start at"),
    ("prompts", 'JSON lines with "prompt"; default: the held-out prompts'),
  ):
    flags.DEFINE_string(name, None, meaning)
  for name, meaning in (
    ("limit", "prompts at most; default: 256 held-out ones, all of FILE"),
    (
      "max_new_tokens",
      "tokens of a completion at most; default: the runs' longest limit",
    ),
  ):
    flags.DEFINE_integer(name, None, meaning, lower_bound=1)
  flags.DEFINE_float(
    "temperature", 1.0, "0 takes the likeliest tokens", lower_bound=0.0
  )
  flags_lib.define(Config, values=flags.FLAGS)


def run() -> None:
  """Starts the program; presets and braces are read before the flags."""
  flags_lib.start("sweep", main, __doc__, _flags, expand)
