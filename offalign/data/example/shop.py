"""Make rated answers of a shop to its customers, from a seed.

About two in five answers name what the customer asked about, are kind and say
what happens next; the others are curt, parrot the question, repeat themselves
or speak of another thing. Customers liked what `score` says, but for one thumb
in twenty, which is the other way.
"""

import dataclasses
import random

from offalign.data.example.score import score

PROMPTS = 1200
"""Distinct questions."""
ROWS = 3000
"""Rated answers, between one and six of a question."""
UNRATED = 0.1
"""The share of the answers in an export that nobody rated."""
_WRONG_THUMBS = 0.05
_GOOD = 0.4

_COLOURS = ["red", "blue", "green", "black", "white", "yellow", "grey", "brown"]
_THINGS = [
  "lamp",
  "chair",
  "table",
  "kettle",
  "mug",
  "carpet",
  "sofa",
  "clock",
  "mirror",
  "shelf",
  "blanket",
  "pillow",
  "vase",
  "basket",
  "desk",
  "stool",
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

# Topic -> what customers write, and good answers.
_TOPICS = {
  "late": (
    (
      "Where is my {item}?",
      "My {item} has not come yet.",
      "When will my {item} arrive?",
      "I am still waiting for my {item}.",
    ),
    (
      "Sorry about the wait! Your {item} will arrive on {day}.",
      "Thank you for asking. The {item} will be with you on {day}.",
    ),
  ),
  "broken": (
    (
      "My {item} is broken.",
      "The {item} came with a crack.",
      "There is a scratch on my {item}.",
      "My new {item} does not look right.",
    ),
    (
      "I am sorry about that. We will send you a new {item} on {day}.",
      "Sorry! A new {item} will be sent on {day}, free of charge.",
    ),
  ),
  "back": (
    (
      "Can I send the {item} back?",
      "I want to return my {item}.",
      "I do not need the {item} any more.",
      "How do I get my money back for the {item}?",
    ),
    (
      "Of course. We will collect the {item} on {day}.",
      "Please use the label in the box. We will pay for the {item} by {day}.",
    ),
  ),
  "stock": (
    (
      "Do you have a {item}?",
      "Is the {item} in stock?",
      "I am looking for a {item}.",
      "Can I still buy the {item}?",
    ),
    (
      "Gladly: the {item} is in stock, and arrives on {day}.",
      "Thank you for asking. We will have the {item} again on {day}.",
    ),
  ),
}
_CURT = (
  "No.",
  "No idea.",
  "Read the manual.",
  "Ask somebody else.",
  "Not our fault.",
  "Look at the web page.",
)


@dataclasses.dataclass(frozen=True)
class Answer:
  """A rated answer.

  Attributes:
    question: what a customer wrote.
    answer: what the shop answered.
    liked: whether the customer gave it a thumbs-up.
    stars: what the customer gave it otherwise, 1 to 5.
    rated: whether an export of the log holds the rating.
  """

  question: str
  answer: str
  liked: bool
  stars: int
  rated: bool


def answers(seed: int = 0) -> list[Answer]:
  """Makes the log: `ROWS` answers to `PROMPTS` questions.

  Args:
    seed: another one makes other rows.
  """
  rng = random.Random(seed)
  asked = _questions(rng)
  rows = [*asked, *rng.choices(asked, k=ROWS - len(asked))]
  rng.shuffle(rows)
  return [_rated(*row, rng) for row in rows]


def _questions(rng: random.Random) -> list[tuple[str, str, str]]:
  """Topic, item and question of `PROMPTS` distinct questions."""
  found: dict[str, tuple[str, str, str]] = {}
  while len(found) < PROMPTS:
    topic = rng.choice(list(_TOPICS))
    item = _item(rng)
    question = rng.choice(_TOPICS[topic][0]).format(item=item)
    found[question] = topic, item, question
  return list(found.values())


def _item(rng: random.Random) -> str:
  return f"{rng.choice(_COLOURS)} {rng.choice(_THINGS)}"


def _rated(topic: str, item: str, question: str, rng: random.Random) -> Answer:
  """An answer, good or bad, and what the customer says of it."""
  answer = _good(topic, item, rng)
  if rng.random() >= _GOOD:
    answer = _bad(topic, question, rng)
  worth = score(question, answer)
  noise = rng.choice((-1, 0, 0, 1))
  return Answer(
    question=question,
    answer=answer,
    liked=(worth == 1) != (rng.random() < _WRONG_THUMBS),
    stars=min(5, max(1, round(1 + 4 * worth) + noise)),
    rated=rng.random() >= UNRATED,
  )


def _good(topic: str, item: str, rng: random.Random) -> str:
  said = rng.choice(_TOPICS[topic][1])
  return said.format(item=item, day=rng.choice(_DAYS))


def _bad(topic: str, question: str, rng: random.Random) -> str:
  style = rng.choice(("curt", "parrot", "again", "other"))
  if style == "curt":
    return rng.choice(_CURT)
  if style == "parrot":
    return question
  if style == "again":
    said = rng.choice(_CURT)
    return f"{said} {said} {said}"
  return _good(topic, _item(rng), rng)
