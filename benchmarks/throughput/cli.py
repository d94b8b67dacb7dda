"""--suite=throughput of benchmarks.run: its flags, rows and report."""

import dataclasses
import json
import os
import pathlib
import platform
import re
import time

import tqdm
from absl import flags

from benchmarks import commands
from benchmarks.sentiment.cli import WEIGHTS
from benchmarks.throughput import breakdown, ceiling, contenders, report, suite
from benchmarks.throughput.cases import (
  CASES,
  MODELS,
  PUBLISHED,
  PUBLISHED_MODEL,
  Case,
)
from benchmarks.throughput.suite import Result
from offalign.errors import UserError
from offalign.files import write_json

PEERS = flags.DEFINE_string(
  "peers",
  None,
  "Throughput: folder of the peers' environments, as benchmarks.throughput."
  "install makes it. Default: whoever's packages are in this environment.",
)
REPEATS = flags.DEFINE_integer(
  "repeats", 7, "Throughput: rounds of turns.", lower_bound=1
)
CASES_FLAG = flags.DEFINE_string(
  "cases",
  "",
  "Throughput: parts of cases' names, parted by commas, e.g. 'dpo 10M,kto'; "
  "run in that order. Default: all.",
)
CONTENDERS = flags.DEFINE_string(
  "contenders",
  "",
  "Throughput: whom to compare with, parted by semicolons, e.g. 'TRL; Tunix'. "
  "Default: all.",
)
BREAKDOWN = flags.DEFINE_bool(
  "breakdown", False, "Throughput: also time the parts of our own step."
)
SECONDS = flags.DEFINE_float(
  "seconds", suite.SECONDS, "Throughput: a turn's length, roughly."
)
MINUTES = flags.DEFINE_float(
  "minutes",
  None,
  "Throughput: no case is begun that would not end by then, if it takes as "
  "long as the longest before it. Default: all are run.",
  lower_bound=0.0,
)
NAMES = (
  "peers",
  "repeats",
  "cases",
  "contenders",
  "breakdown",
  "seconds",
  "minutes",
)
clock = time.monotonic  # a test has another


def run(folder: str) -> int:
  """Runs the suite; returns the exit status (1: a contender failed).

  Raises:
    UserError: for a flag that names nothing.
  """
  weights = WEIGHTS.value if flags.FLAGS["weights"].present else None
  cases, names, peers = (
    chosen(_parted(CASES_FLAG.value, ","), weights),
    _contenders(),
    None,
  )
  if PEERS.value is not None:
    peers = pathlib.Path(PEERS.value)
    if not peers.is_dir():
      raise UserError(
        f"--peers={PEERS.value} is not a folder; make it with python -m "
        "benchmarks.throughput.install"
      )
  turns = 0
  for case in cases:
    turns += len(contenders.chosen(case, names)) * (1 + REPEATS.value)
  out = pathlib.Path(folder)
  if (out / "throughput.jsonl").exists():
    raise UserError(
      f"--out={folder} holds the rows of another run: name another folder, "
      "or delete it"
    )
  out.mkdir(parents=True, exist_ok=True)
  facts = _facts()
  if not weights:
    facts["left out"] = (
      f"{len(PUBLISHED)} cases on {PUBLISHED_MODEL}, as no --weights names its "
      "folder"
    )
  rates = ceiling.rates()
  results, parts, late = [], {}, []
  began, longest = clock(), 0.0
  with tqdm.tqdm(total=turns, unit="turn", dynamic_ncols=True) as bar:

    def doing(what: str) -> None:
      bar.set_description_str(what)
      bar.update()

    for case in cases:
      start = clock()
      if start - began + longest > 60 * (MINUTES.value or float("inf")):
        late.append(case.name)
        continue
      found = suite.run(
        case, names, peers, REPEATS.value, out, doing, SECONDS.value
      )
      append(out / "throughput.jsonl", case, found)
      results.append((case, found))
      if BREAKDOWN.value:
        bar.set_description_str(f"{case.name}: where the time goes")
        parts[case.name] = breakdown.breakdown(case)
      longest = max(longest, clock() - start)
  if late:
    facts[f"not run within {MINUTES.value:g} minutes"] = ", ".join(late)
  facts["load at the end"] = f"{os.getloadavg()[0]:.1f}"
  write_json(
    out / "throughput.json",
    {"facts": facts, "gflops": rates, "breakdown": parts},
  )
  text = report.render(results, facts, rates, parts)
  (out / "throughput.md").write_text(text, encoding="utf-8")
  report.plot(results, out / "throughput.png")
  print(text)
  print(f"report: {out / 'throughput.md'}")
  return int(any(_failed(r) for _, found in results for r in found))


def chosen(wanted: list[str], weights: str | None = None) -> list[Case]:
  """The cases whose names hold any of some strings; all for none.

  They are in the order of the strings.

  Args:
    wanted: the strings.
    weights: folder of the published model; without it, its cases are left out.

  Raises:
    UserError: for a string that fits no case, or cases of the published model
      alone without its folder, or a folder of another model.
  """
  known = (*CASES, *PUBLISHED)
  for part in wanted:
    if not any(part in case.name for case in known):
      raise UserError(
        f"--cases: no case has {part!r} in its name; there are: "
        + ", ".join(case.name for case in known)
      )
    if not weights and not any(part in case.name for case in CASES):
      raise UserError(
        f"--cases={part} is on a published model: name its folder by --weights"
      )
  if weights:
    _check(weights)
  found = [
    dataclasses.replace(case, weights=weights or "") if case.published else case
    for case in known
    if weights or not case.published
  ]
  named = [case for part in wanted for case in found if part in case.name]
  return list(dict.fromkeys(named)) if wanted else found


def _check(weights: str) -> None:
  """Raises UserError for a folder that is not of the published model."""
  path = pathlib.Path(weights) / "config.json"
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError) as error:
    raise UserError(f"--weights={weights}: cannot read {path}") from error
  for key in ("hidden_size", "num_hidden_layers", "vocab_size"):
    if found.get(key) != MODELS[PUBLISHED_MODEL][key]:
      raise UserError(
        f"--weights={weights}: {path} has {key}={found.get(key)!r}, and "
        f"SmolLM2-135M has {MODELS[PUBLISHED_MODEL][key]}"
      )


def append(path: pathlib.Path, case: Case, results: list[Result]) -> None:
  """One row for each contender."""
  with path.open("a", encoding="utf-8") as file:
    for r in results:
      row = {"case": case.name, "tokens": case.tokens, **dataclasses.asdict(r)}
      row["tokens_per_second"] = [case.tokens / s for s in r.seconds]
      file.write(json.dumps(row) + "\n")


def _contenders() -> list[str]:
  names = _parted(CONTENDERS.value, ";")  # one of the names holds a comma
  contenders.chosen(CASES[0], names)
  return names


def _parted(text: str, sign: str) -> list[str]:
  return [part.strip() for part in text.split(sign) if part.strip()]


def _failed(result: Result) -> bool:
  """An absent peer is no failure, unless it was asked for."""
  if result.error is None:
    return False
  return not result.error.startswith("absent") or bool(CONTENDERS.value)


def _processor(path: str = "/proc/cpuinfo") -> str:
  """The processor's name: libraries of products differ in what they favour."""
  try:
    text = pathlib.Path(path).read_text(encoding="utf-8", errors="replace")
  except OSError:  # not Linux
    text = ""
  found = re.search(r"^model name\s*:\s*([\w ().@+-]+)$", text, re.MULTILINE)
  return found[1].strip() if found else platform.processor() or "unknown kind"


def _facts() -> dict[str, str]:
  cores = len(os.sched_getaffinity(0))
  return {
    "command": f"`{commands.command(('suite', 'weights', *NAMES))}`",
    "date": time.strftime("%Y-%m-%d"),
    "machine": f"{cores} cores of {_processor()}, {platform.machine()}, "
    f"{platform.system()}",
    "rounds": str(REPEATS.value),
    "load at the start": f"{os.getloadavg()[0]:.1f} "
    "(above 0, others were using the machine)",
  }
