"""The code in the pages: what is run, what is not, and why not.

Every fenced block says its language. `python` and `sh` blocks are run, page by
page and in order. A comment in the line before a block changes that:

  <!-- not run: REASON -->   with a reason of `REASONS`
  <!-- run with: --FLAG ... -->   adds to its commands, to make them short

and `<!-- files: NAME ... -->` anywhere on a page lays sample files beside it.
`python tests/docs/doc_pages.py` lists what is not run.
"""

import dataclasses
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parents[2]

REASONS = (
  "installs packages",
  "needs several hosts",
  "needs the network",
  "needs TPUs or their compiler",
  "needs a GPU",
  "needs an engine",
  "takes minutes",
  "a part of a program",
)
RUN = ("python", "sh", "bash")
SHOWN = ("text", "toml", "json", "jinja", "yaml", "mermaid", "{toctree}")

_FENCE = re.compile(r"^\s*(```+|~~~+)\s*(\S*)\s*$")
_NOTE = re.compile(r"^\s*<!-- (not run|run with): (.+?) -->\s*$")
_FILES = re.compile(r"<!-- files: (.+?) -->")
_PROGRAM = re.compile(r"\bpython -m |(?:^|\| )offalign ")
_UNFENCED = re.compile(r"^    (\$ |python |pip |import \w|from \w+ import )")


@dataclasses.dataclass(frozen=True)
class Block:
  """A fenced block.

  Attributes:
    page: relative to the repository.
    line: of its fence, from 1.
    language: as the fence has it; "" where it has none.
    text: what is inside.
    not_run: why it is not run, or None.
    more: flags that are added to its commands.
  """

  page: str
  line: int
  language: str
  text: str
  not_run: str | None = None
  more: str = ""

  @property
  def is_code(self) -> bool:
    """Whether it would be run."""
    return self.language in RUN

  def __str__(self) -> str:
    return f"{self.page}:{self.line}"


def pages() -> list[str]:
  """Every page with code, relative to the repository."""
  found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
  made = ROOT / "docs" / "api"
  found += (p for p in (ROOT / "docs").rglob("*.md") if made not in p.parents)
  return sorted(str(page.relative_to(ROOT)) for page in found)


def blocks(page: str, text: str | None = None) -> list[Block]:
  """The blocks of a page, in order.

  Raises:
    ValueError: for a fence that is not closed, a comment that no block
      follows, or code that is set in and not fenced.
  """
  if text is None:
    text = (ROOT / page).read_text(encoding="utf-8")
  found: list[Block] = []
  note: tuple[str, str] | None = None
  opened: tuple[str, str, int] | None = None
  inside: list[str] = []
  for number, line in enumerate(text.splitlines(), start=1):
    fence = _FENCE.match(line)
    if opened is not None:
      if not (fence and fence[1].startswith(opened[0]) and not fence[2]):
        inside.append(line)
        continue
      found.append(_block(page, opened, inside, note))
      opened, inside, note = None, [], None
    elif fence:
      opened = fence[1], fence[2], number
    elif _UNFENCED.match(line):
      raise ValueError(f"{page}:{number}: put code between fences")
    elif note is not None and line.strip():
      raise ValueError(f"{page}:{number}: a block must follow {note}")
    elif comment := _NOTE.match(line):
      note = comment[1], comment[2]
  if opened is not None:
    raise ValueError(f"{page}:{opened[2]}: this fence is not closed")
  return found


def _block(
  page: str,
  opened: tuple[str, str, int],
  inside: list[str],
  note: tuple[str, str] | None,
) -> Block:
  kind, said = note or ("", "")
  return Block(
    page=page,
    line=opened[2],
    language=opened[1],
    text="\n".join(inside) + "\n",
    not_run=said if kind == "not run" else None,
    more=said if kind == "run with" else "",
  )


def files(page: str) -> list[str]:
  """The sample files that a page asks for."""
  text = (ROOT / page).read_text(encoding="utf-8")
  return [name for found in _FILES.findall(text) for name in found.split()]


def commands(block: Block) -> list[str]:
  """The lines of a shell block, each whole, with the flags that are added."""
  whole = block.text.replace("\\\n", " ")
  lines = [line.strip() for line in whole.splitlines()]
  return [
    f"{line} {block.more}" if block.more and _PROGRAM.search(line) else line
    for line in lines
    if line and not line.startswith("#")
  ]


def main() -> int:
  """Lists the blocks that are not run, by reason."""
  every = [block for page in pages() for block in blocks(page)]
  code = [block for block in every if block.is_code]
  left = [block for block in code if block.not_run]
  for reason in sorted({block.not_run for block in left if block.not_run}):
    where = [str(block) for block in left if block.not_run == reason]
    print(f"not run, {reason}: {', '.join(where)}")
  print(f"{len(code) - len(left)} blocks of code are run, {len(left)} are not")
  return 0


if __name__ == "__main__":
  sys.exit(main())
