"""matched-kl.md: win rate and gain of every method at the same KL."""

import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.matched_kl.curves import LEVELS, START, at, difference, mean
from offalign.leaderboard import Row
from offalign.pages.figures import STYLE

PAGE = "matched-kl.md"
_TITLES = {"win_vs_sft": "win rate against SFT", "reward_gain": "reward gain"}

Values = dict[str, dict[str, dict[float, list[float]]]]
"""method -> metric -> level -> one value a seed, NaN where not reached."""


def read_off(rows: Sequence[Row], families: Mapping[str, list[str]]) -> Values:
  """Each method's values at each KL, seed by seed.

  Args:
    rows: of one model.
    families: method -> the labels of its strengths.
  """
  seeds = sorted({row.seed for row in rows if not row.control})
  found: Values = {}
  for name, labels in families.items():
    own = [r for r in rows if r.label in labels and r.status == "ok"]
    if not own:
      continue
    found[name] = {
      metric: {
        level: [
          at(
            [r.metrics["kl"] for r in own if r.seed == seed],
            [r.metrics[metric] for r in own if r.seed == seed],
            level,
            start,
          )
          for seed in seeds
        ]
        for level in LEVELS
      }
      for metric, start in START.items()
    }
  return found


def write(
  folder: pathlib.Path, rows: Sequence[Row], families: Mapping[str, list[str]]
) -> pathlib.Path:
  """Writes the tables and a picture of the curves for each model.

  Args:
    folder: of the suite.
    rows: of all models.
    families: method -> the labels of its strengths.

  Returns:
    The path of the page.
  """
  parts = [
    "# Methods at equal KL",
    "",
    "Each method ran at five strengths; a seed's curve is read off at these "
    "KLs, linearly in sqrt(KL), from the reference (win rate .5, no gain, no "
    "KL) on. Where a seed's curve does not reach a KL, it does not count "
    "there, and the number of seeds that do is in brackets. Means over seeds "
    "± the standard error of the mean.",
    "",
  ]
  for model in dict.fromkeys(row.model for row in rows):
    own = [row for row in rows if row.model == model]
    values = read_off(own, families)
    name = model.partition("(")[0]
    parts += [f"## {name}", ""]
    for metric, title in _TITLES.items():
      parts += [f"### {title[0].upper()}{title[1:]}", ""]
      parts += [*_table(values, metric), ""]
    parts += ["### Against DRO-V, paired by seed", "", *_paired(values), ""]
    picture = f"matched-kl-{name}.png"
    _draw(folder / picture, own, families)
    parts += [f"![Win rate over KL]({picture})", ""]
  page = folder / PAGE
  page.write_text("\n".join(parts), encoding="utf-8")
  return page


def _table(values: Values, metric: str) -> list[str]:
  heads = ["method", *(f"KL {level:g}" for level in LEVELS)]
  lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
  for name, metrics in values.items():
    cells = [name]
    for level in LEVELS:
      found = mean(metrics[metric][level])
      all_seeds = len(metrics[metric][level])
      if not found.seeds:
        cells.append("not reached")
        continue
      error = "" if math.isnan(found.error) else f" ± {found.error:.3f}"
      few = "" if found.seeds == all_seeds else f" ({found.seeds})"
      cells.append(f"{found.value:.3f}{error}{few}")
    lines.append(f"| {' | '.join(cells)} |")
  return lines


def _paired(values: Values) -> list[str]:
  """DRO-V less each other method: win rates, 95% intervals over seeds."""
  if "DRO-V" not in values:
    return ["DRO-V is not among these methods."]
  base = values["DRO-V"]["win_vs_sft"]
  heads = ["DRO-V less", *(f"KL {level:g}" for level in LEVELS)]
  lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
  compared = 0
  for name, metrics in values.items():
    if name == "DRO-V":
      continue
    cells = [name]
    for level in LEVELS:
      found = difference(base[level], metrics["win_vs_sft"][level])
      if math.isnan(found.low):
        cells.append(f"fewer than 3 seeds reach it ({found.seeds})")
        continue
      compared += 1
      sure = " *" if found.low > 0 or found.high < 0 else ""
      cells.append(
        f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]{sure}"
      )
    lines.append(f"| {' | '.join(cells)} |")
  chance = f"{0.05 * compared:.1f}"
  return [
    *lines,
    "",
    f"A star: the 95% interval of that one difference leaves out 0. There are "
    f"{compared} of them, of which {chance} would bear a star by chance alone.",
  ]


def _draw(
  path: pathlib.Path, rows: Sequence[Row], families: Mapping[str, list[str]]
) -> None:
  """Mean over seeds of KL and win rate, strength by strength."""
  import matplotlib
  from matplotlib.figure import Figure

  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(8.0, 5.5), layout="constrained")
    axes = figure.subplots()
    styles = ("-", "--", ":")
    for place, (name, labels) in enumerate(families.items()):
      points = [(0.0, 0.5)]
      for label in labels:
        own = [r for r in rows if r.label == label and r.status == "ok"]
        if own:
          kl = np.mean([r.metrics["kl"] for r in own])
          win = np.mean([r.metrics["win_vs_sft"] for r in own])
          points.append((float(kl), float(win)))
      if len(points) > 1:
        x, y = zip(*sorted(points), strict=True)
        style = styles[place // 10 % len(styles)]
        # An estimate of a KL near 0 may be below it.
        root = np.sqrt(np.maximum(x, 0.0))
        axes.plot(root, y, style, marker="o", markersize=3, label=name)
    ticks = [0.0, *LEVELS, 4.0, 8.0]
    axes.set_xticks(np.sqrt(ticks), [f"{tick:g}" for tick in ticks])
    axes.set_xlabel("KL from the reference, nats (spaced by its root)")
    axes.set_ylabel("win rate against SFT")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120, facecolor="white")
