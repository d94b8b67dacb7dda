"""The question that a language model is asked, and how its answer is read.

The first two sentences, and the labels of what follows them, are those of the
DRO paper (arXiv:2405.19107, section 4, "Evaluation"), where PaLM 2 was the
judge. The line breaks are ours, and so is the last sentence: the paper does
not print how it had the answer given, or whether there could be ties.
"""

import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Literal

from offalign.errors import UserError

PAPER = """\
In this task, you will be provided with an instruction and two responses. \
Your job is to assess the helpfulness and fulfillment of two responses A and B.

Instruction: {prompt}

response A (left): {a}

response B (right): {b}"""
ENDING = (
  "\n\nWhich response is better? Answer with one letter and nothing else: A, "
  "B, or C if they are equally good."
)
DEFAULT = PAPER + ENDING

Verdict = Literal["A", "B", "tie"]

_PLACES = ("prompt", "a", "b")
_VERDICT = re.compile(
  r"(?:(?:the )?(?:final )?(?:better )?(?:answer|verdict|response)"
  r"(?: is)?\s*:?\s*)?(?P<said>a|b|c|tie)",
  re.IGNORECASE,
)
_ORNAMENTS = "*_`'\"[]()<>. \t"


def fill(template: str, **texts: str) -> str:
  """Puts the texts in, in one pass: braces inside them stay what they are.

  >>> fill("{prompt}|{a}|{b}", prompt="{a}", a="x", b="{prompt}")
  '{a}|x|{prompt}'
  """
  return _place(texts).sub(lambda match: texts[match[1]], template)


def load(path: str | None) -> str:
  """A template of one's own, or the default.

  Args:
    path: a text file with {prompt}, {a} and {b} once each; None for ours. It
      must ask for an answer that `read` understands.

  Raises:
    UserError: for a file that cannot be read, or lacks a place.
  """
  return DEFAULT if path is None else of_file(path, "template", _PLACES)


def of_file(path: str, what: str, places: Sequence[str]) -> str:
  """The text of a file that has each of some places once.

  Args:
    path: of the file.
    what: it is, for the sentences.
    places: their names, which the file has in braces.

  Raises:
    UserError: see `load`.
  """
  try:
    template = pathlib.Path(path).expanduser().read_text(encoding="utf-8")
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(
      f"the judge's {what} {path} cannot be read: {error}"
    ) from None
  found = _place(places).findall(template)
  if sorted(found) != sorted(places):
    *first, last = (f"{{{name}}}" for name in places)
    raise UserError(
      f"the judge's {what} {path} must have {', '.join(first)} and {last} "
      f"once each, not {', '.join(found) or 'none of them'}"
    )
  return template


def _place(names: Iterable[str]) -> re.Pattern[str]:
  return re.compile(rf"\{{({'|'.join(names)})\}}")


def read(answer: str) -> Verdict | None:
  """The verdict of an answer, or None where it gives none.

  The whole answer, or its last line where it reasons before, must be the
  verdict: of "A good response would ..." nothing is known.

  >>> [read(x) for x in ("B", "**A**", "I compared both.\\nAnswer: C")]
  ['B', 'A', 'tie']
  >>> read("A good response would say more.") is None
  True
  """
  lines = [line for line in answer.splitlines() if line.strip()]
  if not lines:
    return None
  match = _VERDICT.fullmatch(lines[-1].strip(_ORNAMENTS))
  if match is None:
    # The letter alone may be ornamented: "Answer: [[A]]".
    bare = re.sub(r"[*_`'\"\[\]()<>.]", "", lines[-1]).strip()
    match = _VERDICT.fullmatch(bare)
  if match is None:
    return None
  said = match["said"].upper()
  return {"A": "A", "B": "B"}.get(said, "tie")  # type: ignore[return-value]
