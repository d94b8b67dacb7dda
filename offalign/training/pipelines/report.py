"""The report of a pipeline: each stage's figures, time and command.

FOLDER/pipeline.html is a page, FOLDER/pipeline.txt the same as text.
"""

import dataclasses
import math
from collections.abc import Sequence

from markupsafe import Markup

from offalign import losses, pages
from offalign.errors import UserError, printable
from offalign.files import write_atomically
from offalign.pages import Cell, Column, Section, Table
from offalign.policy import run_curves
from offalign.policy.folder import curves, read_about, read_cost
from offalign.training.pipelines.record import Known, Pipeline

PAGE, TEXT = "pipeline.html", "pipeline.txt"

FIGURES = {
  "eval_loss": "held-out loss",
  "eval_rewards/accuracies": "held-out accuracy",
  "eval_score": "held-out score",
  "eval_objective/kl": "KL, held-out",
  "objective/scores": "score of samples",
  "objective/kl": "KL of samples",
}
"""Metrics that are shown -> their names."""

_NOTE = (
  "Figures are the first and the last that were logged. A score is what the "
  "stage was trained to raise: where a reward model gives it, read some of the "
  "completions in rounds/*/samples.jsonl too. KL is in nats, from the policy "
  "that the stage began with."
)


@dataclasses.dataclass(frozen=True)
class Summary:
  """What a stage came to.

  Attributes:
    stage: of the pipeline.
    loss: its loss as a spec; "" where it has not begun.
    steps: that it has trained.
    seconds: of all its launches; NaN where that is not known.
    figures: name -> its first and its last value.
  """

  stage: Known
  loss: str
  steps: int
  seconds: float
  figures: dict[str, tuple[float, float]]

  @property
  def said(self) -> str:
    """The figures in a line."""
    if self.stage.state == "failed":
      return f"failed: {self.stage.why}"
    found = [
      f"{name} {_number(first)}"
      + (f" -> {_number(last)}" if last != first else "")
      for name, (first, last) in self.figures.items()
    ]
    return ", ".join(found) or ("waiting" if not self.loss else "nothing held")

  @property
  def time(self) -> str:
    """The seconds, as text."""
    return "–" if math.isnan(self.seconds) else f"{self.seconds:,.1f}"


def summarise(pipeline: Pipeline) -> list[Summary]:
  """What each stage came to, read from its run folder."""
  found = []
  for stage in pipeline.stages:
    folder = pipeline.path(stage.name)
    about = read_about(folder)
    cost = read_cost(folder) or {}
    seconds = cost.get("seconds", {}).get("wall", math.nan)
    logged = curves(folder)
    found.append(
      Summary(
        stage,
        ""
        if about is None
        else str(about["loss"] if "loss" in about else about["config"]["loss"]),
        int(cost.get("step", 0)),
        float(seconds),
        {
          label: (logged[name][0][1], logged[name][-1][1])
          for name, label in FIGURES.items()
          if name in logged
        },
      )
    )
  return found


def write(pipeline: Pipeline) -> None:
  """Writes the page and the text.

  Raises:
    Unwritten: where a file cannot be written.
  """
  found = summarise(pipeline)
  write_atomically(pipeline.folder / PAGE, page(pipeline, found))
  write_atomically(pipeline.folder / TEXT, text(pipeline, found))


def text(pipeline: Pipeline, found: Sequence[Summary]) -> str:
  """The report as text.

  Args:
    pipeline: with its stages.
    found: what they came to.
  """
  head = ("stage", "loss", "steps", "seconds", "figures")
  rows = [
    (x.stage.name, x.loss or "–", f"{x.steps:,}", x.time, x.said) for x in found
  ]
  widths = [max(len(row[i]) for row in (head, *rows)) for i in range(4)]
  lines = [
    "  ".join(
      [
        row[0].ljust(widths[0]),
        row[1].ljust(widths[1]),
        row[2].rjust(widths[2]),
        row[3].rjust(widths[3]),
        row[4],
      ]
    ).rstrip()
    for row in (head, *rows)
  ]
  commands = [each.stage.command for each in found]
  whole = [_title(pipeline), "", *lines, "", _NOTE, "", "Commands:", *commands]
  return printable("\n".join(whole)) + "\n"


def page(pipeline: Pipeline, found: Sequence[Summary]) -> str:
  """The report as a page.

  Args:
    pipeline: with its stages.
    found: what they came to.
  """
  parts = pages.template("pages/parts.html")
  table = Table(
    [
      Column("stage", header=True),
      Column("loss"),
      Column("steps", numeric=True),
      Column("seconds", numeric=True, help="of all launches, on the wall"),
      Column("figures", sortable=False),
    ],
    [
      [
        x.stage.name,
        x.loss or "–",
        f"{x.steps:,}",
        Cell(x.time),
        x.said,
      ]
      for x in found
    ],
    label="Stages",
    sortable=False,
  )
  note = Markup("<p>{}</p>").format(_NOTE)
  sections = [Section("Stages", Markup("\n").join([parts.table(table), note]))]
  for each in found:
    body = [parts.command(each.stage.command)]
    drawn = _curves(pipeline, each)
    if drawn:
      body.append(drawn)
    sections.append(
      Section(f"Stage {each.stage.name}", Markup("\n").join(body))
    )
  lead = (
    f"{_title(pipeline)}. Each stage is a plain run: its command trains it."
  )
  return pages.page(f"Pipeline {pipeline.name}", sections, lead=lead)


def _curves(pipeline: Pipeline, each: Summary) -> Markup:
  """What a stage has logged; "" where it has not begun."""
  if not each.loss:
    return Markup()
  try:
    loss = losses.get(each.loss)
  except UserError:  # whose module is not imported here
    return Markup()
  name = each.stage.name
  return run_curves.figures(pipeline.path(name), loss, name=name)


def _title(pipeline: Pipeline) -> str:
  done, total = len(pipeline.done), len(pipeline.stages)
  return (
    f"pipeline {pipeline.name} in {pipeline.folder}: {done} of {total} stages "
    "done"
  )


def _number(value: float) -> str:
  return f"{value:.4g}"
