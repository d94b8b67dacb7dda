"""A reward model, its judge, and runs that train it further."""

import rounds
import runs

GOLD = "def gold(prompt, text):\n  return sum(map(str.isascii, text))\n"


def reward_model(made):
  """A judge, and a reward model with its data, in a folder."""
  (made / "gold.py").write_text(GOLD)
  runs.write(
    made / "pairs.jsonl",
    [
      {"prompt": f"p{i % 16}", "chosen": f"ab{i}", "rejected": f"aaaa{i}"}
      for i in range(24)
    ],
  )
  runs.train(made / "pairs.jsonl", made / "rm", loss="bradley_terry", steps=2)
  return made


def options(folder, out, *, replay=0.25, **grow):
  """Options of a run of three rounds with refits between them."""
  judge = f"{folder / 'gold.py'}:gold"
  return rounds.options(
    out,
    grow={
      "score": f"reward_model(run={str(folder / 'rm')!r})",
      "refit": f"refit(judge={judge!r}, pairs=9, steps=2, replay={replay})",
    }
    | grow,
  )
