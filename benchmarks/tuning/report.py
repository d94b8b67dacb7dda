"""tuning.md: what was drawn, what was chosen, and the expected best of k."""

import math
import pathlib

from benchmarks.tuning.draws import Draw, Records, best, expected_best
from benchmarks.tuning.ranges import Line
from offalign.pages.figures import STYLE

PAGE = "tuning.md"
_CURVES = "best-of-k-{model}.png"
_SHOWN = (1, 2, 4)  # and all of them


def notes(count: int, lines: list[Line], records: Records) -> list[str]:
  """What the board says of its tuning.

  Args:
    count: draws a line.
    lines: of the board.
    records: all draws.
  """
  draws = list(records.found.values())
  failed = [draw for draw in draws if draw.error]
  said = [
    f"Every one of the {len(lines)} lines of the tuned board had {count} "
    "random draws of its options and rates from ranges that are stated in "
    "tuning/tuning.md, on the log of seed 0, was chosen by its win rate on "
    "the validation prompts, and is reported on the test prompts from logs of "
    "other seeds. The board of registered defaults has the same seeds without "
    "tuning."
  ]
  if failed:
    said.append(
      f"{len(failed)} of {len(draws)} draws failed, and count as lost: "
      + "; ".join(f"{d.line}, draw {d.draw}: {d.error}" for d in failed[:5])
    )
  return said


def write(
  folder: pathlib.Path, lines: list[Line], draws: list[Draw]
) -> pathlib.Path:
  """Writes the page and its picture.

  Args:
    folder: of the tuning.
    lines: in the order of the board.
    draws: of all lines and models.

  Returns:
    The path of the page.
  """
  parts = ["# Tuning", ""]
  for model in dict.fromkeys(draw.model for draw in draws):
    own = [draw for draw in draws if draw.model == model]
    name = _CURVES.format(model=model)
    _draw_curves(folder / name, lines, own)
    parts += [f"## {model}", "", *_table(lines, own), ""]
    parts += [f"![The expected best of k draws]({name})", ""]
  parts += ["## Ranges", "", *_ranges(lines), ""]
  page = folder / PAGE
  page.write_text("\n".join(parts), encoding="utf-8")
  return page


def _table(lines: list[Line], draws: list[Draw]) -> list[str]:
  """A row a line, best first: chosen settings and the expected best of k."""
  count = max(draw.draw for draw in draws) + 1
  shown = [*(k for k in _SHOWN if k < count), count]
  heads = ["line", "chosen", "rate", "value's", "KL"]
  heads += [f"best of {k}" for k in shown] + ["worst", "failed"]
  rows = []
  for line in lines:
    own = [draw for draw in draws if draw.line == line.name]
    chosen = best(own)
    if not own:
      continue
    wins = [draw.win for draw in own]
    curve = expected_best(wins)
    low = min((w for w in wins if not math.isnan(w)), default=math.nan)
    cells = [line.name]
    if chosen is None:
      cells += ["none: every draw failed", "", "", ""]
    else:
      value = chosen.value_learning_rate
      cells += [
        f"`{chosen.loss}`",
        f"{chosen.learning_rate:g}",
        "" if value is None else f"{value:g}",
        f"{chosen.kl:.2f}",
      ]
    cells += [f"{curve[k - 1]:.3f}" for k in shown if k <= len(curve)]
    cells += [f"{low:.3f}", str(sum(bool(d.error) for d in own) or "")]
    rows.append((curve[-1], cells))
  rows.sort(key=lambda row: -row[0])
  return [
    "| " + " | ".join(heads) + " |",
    "|" + " --- |" * len(heads),
    *("| " + " | ".join(cells) + " |" for _, cells in rows),
    "",
    "Win rates against SFT on the validation prompts, ties one half. 'Best of "
    "k' is what the best of k of these draws is expected to give there: what "
    "tuning pays, and how much of a line's place is the effort spent on it. "
    "The best of all draws is the best of noise too, so that it falls on the "
    "test prompts.",
  ]


def _ranges(lines: list[Line]) -> list[str]:
  """What each line draws from."""
  said = []
  for line in lines:
    own = "; ".join(f"{key}: {a}" for key, a in line.ranges().items())
    said.append(f"* {line.name}: {own}")
  return said


def _draw_curves(
  path: pathlib.Path, lines: list[Line], draws: list[Draw]
) -> None:
  """The expected best of k for each line, the best eight in colour."""
  import matplotlib
  from matplotlib.figure import Figure

  curves = {}
  for line in lines:
    wins = [draw.win for draw in draws if draw.line == line.name]
    if wins:
      curves[line.name] = expected_best(wins)
  ranked = sorted(curves, key=lambda name: -curves[name][-1])
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(reversed(ranked)):
      curve = curves[name]
      k = range(1, len(curve) + 1)
      if len(ranked) - place > 8:
        axes.plot(k, curve, color="0.8", linewidth=1)
      else:
        axes.plot(k, curve, marker="o", markersize=3, label=name)
    axes.set_xlabel("draws")
    axes.set_ylabel("expected best win rate against SFT, validation")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], fontsize=8, loc="lower right")
    figure.savefig(path, dpi=120, facecolor="white")
