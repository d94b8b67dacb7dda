"""Small tables that the tests of views share."""

from offalign import data, losses
from offalign.data import Record


def scored(prompt, *rewards, labels=None):
  """One record of a prompt: completions a, b, c, ... with these rewards."""
  texts = tuple(chr(ord("a") + k) for k in range(len(rewards or labels)))
  return Record(prompt, texts, rewards or None, labels, False, f"f:{prompt}")


def pair(prompt, chosen, rejected, rewards=None, row=0):
  return Record(prompt, (chosen, rejected), rewards, None, True, f"f:{row}")


def make(records, spec, seed=0, **options):
  loss, given = losses.get(spec), data.ViewOptions(**options)
  return data.view(records, loss.kind, loss.needs, given, seed=seed)


def plain(view):
  return [
    (row.prompt, row.completions, row.rewards, row.labels) for row in view.rows
  ]


GROUPS = [scored("x", 0.0, 1.0, 0.5), scored("y", 2.0, 2.0)]

PAIRS = [
  pair("x", "a", "b", row=0),
  pair("x", "a", "c", row=1),
  pair("x", "c", "b", row=2),
  pair("y", "a", "b", row=3),
]
