"""Comparisons of policies, without a run that was trained."""

import types

from offalign.compare.contestants import Contestant
from offalign.compare.result import Comparison, Entry
from offalign.compare.scores import mean_score
from offalign.generation.completions import Completions, End
from offalign.judges.contest import duel
from offalign.judges.gold import Gold

NASTY = "</pre></script><script>alert(1)</script><img src=x onerror=\"f('&')\">"
LONG = "word " * 400
TEXTS = {
  "sft": ["bb", "bb", NASTY, ""],
  f"dro {NASTY}": ["bbb", "b", NASTY, LONG],
  "kto": ["b", "bb", "b", "bbb"],
}
PROMPTS = ("plain", (("system", NASTY), ("user", "hi")), LONG, "last")


def length(prompt, completion):
  return len(completion)


def contestant(name, path=None, **about):
  """A contestant of which nothing but its run.json is known."""
  said = {"loss": "dpo", "model": "tiny", "config": {"seed": 0}} | about
  said = {key: value for key, value in said.items() if value is not None}
  policy = types.SimpleNamespace(about=said, step=4, loss=said.get("loss"))
  return Contestant(name, str(path or name), policy)


def comparison(texts=None, judge=None, ends=True, prompts=PROMPTS):
  """The first of the texts is the baseline's."""
  texts = texts or TEXTS
  judge = judge or Gold.of(length)
  how = tuple(End(len(x) < 100, len(x)) for x in texts["sft"]) if ends else ()
  all_of = [
    Completions(name, prompts, tuple(x), how) for name, x in texts.items()
  ]
  duels = [duel(judge, each, all_of[0]) for each in all_of[1:]]
  entries = []
  for one, against in zip(all_of, [None, *duels], strict=True):
    said = (against or duels[0]).said.scores
    scores = () if said is None else tuple(said[0 if against else 1])
    entries.append(
      Entry(
        name=one.name,
        path=f"runs/{one.name}",
        kind="dpo(beta=0.1)",
        step=4,
        written=one,
        duel=against,
        scores=scores,
        score=mean_score(scores) if scores else None,
        budget={"steps": 4, "completions": 32, "seconds": 1.5},
        metrics={"eval_loss": 0.5},
        nats={"chosen": -1.25, "rejected": -2.5},
        row=None,
      )
    )
  return Comparison(
    judge.spec,
    prompts,
    "test.jsonl",
    {"temperature": 1.0},
    tuple(entries),
    (f"a note {NASTY}",),
  )
