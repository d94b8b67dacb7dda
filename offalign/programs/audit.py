"""python -m offalign.audit PATH: looks at data before anything is trained.

  python -m offalign.audit thumbs.jsonl --tokenizer=flan-t5-small \\
    --max_prompt=256 --max_completion=256 --test=held_out.jsonl --out=audit
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Literal

from offalign.audit.report.console import text
from offalign.audit.report.json_form import as_json
from offalign.audit.run import AuditConfig, Report, audit
from offalign.errors import UserError, option, speaking
from offalign.programs import flags as flags_lib


@dataclasses.dataclass(frozen=True)
class Output:
  """What is done with the report.

  Attributes:
    out: folder for audit.json and audit.html; default: neither is written.
    fail_on: the least severe findings that make the status 1.
  """

  out: str | None = None
  fail_on: Literal["error", "warning"] = "warning"


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Audits; returns 0 where all is well, 1 on findings, 2 on mistakes."""
  try:
    if len(argv) != 2:
      raise UserError(
        "give one path: python -m offalign.audit PATH (several files with "
        "commas between)"
      )
    output = flags_lib.read(Output, "")
    report = audit(argv[1], flags_lib.read(AuditConfig, ""))
    written = _write(report, output)
  except UserError as error:
    flags_lib.complain("offalign.audit", error)
    return 2
  flags_lib.say(text(report))
  if written:
    flags_lib.say(f"wrote {' and '.join(written)}")
  return report.status(output.fail_on)


def _write(report: Report, output: Output) -> list[str]:
  """Writes the files; returns their names."""
  if output.out is None:
    return []
  from offalign.audit.report.page import page  # matplotlib takes its time

  folder = pathlib.Path(output.out)
  contents = {
    "audit.json": json.dumps(as_json(report), indent=2) + "\n",
    "audit.html": page(report),
  }
  try:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
      (folder / name).write_text(content, encoding="utf-8")
  except OSError as error:
    raise UserError(
      f"{option('out', output.out)} cannot be written: {error.strerror}"
    ) from error
  return [str(folder / name) for name in contents]


def _flags() -> None:
  flags_lib.define(AuditConfig, "")
  flags_lib.define(Output, "")


def run() -> None:
  """Starts the program."""
  flags_lib.start("audit", main, __doc__, _flags)
