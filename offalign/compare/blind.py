"""A blind page that collects side-by-side ratings, and its key."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from offalign import pages
from offalign.errors import UserError
from offalign.files import write_atomically, write_json
from offalign.generation.completions import Completions, Prompt, align
from offalign.judges.base import as_text
from offalign.pages import Section
from offalign.statistics.outcomes import prompt_id

PAGE, KEY = "rate.html", "rate-key.json"
LEAD = (
  "Two texts answer each prompt. Say which is better, or that they are equally "
  "good. Nothing leaves this page until you save the ratings as a file."
)


@dataclasses.dataclass(frozen=True)
class Item:
  """A prompt and two completions in the order in which a rater sees them.

  Attributes:
    prompt: the prompt.
    left: the text on the left.
    right: the text on the right.
    names: the contestants that wrote them, in the same order; not on the page.
  """

  prompt: Prompt
  left: str
  right: str
  names: tuple[str, str]

  @property
  def text(self) -> str:
    """The prompt as text."""
    return as_text(self.prompt)

  @property
  def ids(self) -> tuple[str, str, str]:
    """Digests of the prompt, the left and the right text."""
    return prompt_id(self.prompt), prompt_id(self.left), prompt_id(self.right)


def items(
  a: Completions, b: Completions, *, limit: int | None = None, seed: int = 0
) -> tuple[list[Item], int]:
  """Shuffles what two contestants wrote, prompts and sides alike.

  Args:
    a: the one's completions.
    b: the other's, of the same prompts.
    limit: so many items at most, drawn at random; None for all.
    seed: of the shuffling.

  Returns:
    The items, and how many were left out since both texts are one.

  Raises:
    UserError: where the prompts differ, or nothing is left to rate.
  """
  i, j = align(a, b)
  met = [
    (a.prompts[x], a.texts[x], b.texts[y]) for x, y in zip(i, j, strict=True)
  ]
  distinct = list(dict.fromkeys(each for each in met if each[1] != each[2]))
  if not distinct:
    raise UserError(
      f"{a.name} and {b.name} wrote the same texts: there is nothing to rate"
    )
  rng = np.random.default_rng(seed)
  order = rng.permutation(len(distinct))[:limit]
  turned = rng.random(len(distinct)) < 0.5
  made = []
  for k in order:
    prompt, first, second = distinct[k]
    sides = [(first, a.name), (second, b.name)]
    if turned[k]:
      sides.reverse()
    (left, one), (right, other) = sides
    made.append(Item(prompt, left, right, (one, other)))
  same = sum(first == second for _, first, second in met)
  return made, same


def page(shown: Sequence[Item], name: str = "ratings") -> str:
  """Returns the page; who wrote what is not in it.

  Args:
    shown: the items, in their order.
    name: of the file that the page saves, and of what it keeps in the browser.
  """
  html = pages.template("compare/blind.html")
  body = html.rating(shown, name)
  return pages.page(
    "Which is better?",
    [Section("Rate", body)],
    lead=LEAD,
    script="compare/blind.js",
  )


def write(
  folder: str | pathlib.Path, shown: Sequence[Item], seed: int
) -> tuple[pathlib.Path, pathlib.Path]:
  """Writes the page and, in a file of its own, who wrote what.

  Returns:
    The paths of the page and of the key, which raters should not have.
  """
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  name = prompt_id([item.ids for item in shown])
  write_atomically(folder / PAGE, page(shown, f"ratings-{name}"))
  key = {
    "seed": seed,
    "items": [
      {
        **dict(zip(("prompt", "left", "right"), item.ids, strict=True)),
        "left_by": item.names[0],
        "right_by": item.names[1],
      }
      for item in shown
    ],
  }
  write_json(folder / KEY, key)
  return folder / PAGE, folder / KEY
