"""Rows that the leaderboard's tests share."""

from offalign.leaderboard import Row, Sample

BUDGET = {"completions": 9600, "tokens": 105600, "steps": 300}


def make_row(label="dpo", seed=0, **changes):
  fields = {
    "track": "ops",
    "scenario": "L=0.37",
    "loss": label.split(" ")[0],
    "label": label,
    "data_view": "pairs, gold label",
    "model": "tiny",
    "seed": seed,
    "budget": BUDGET,
    "metrics": {"win_vs_sft": 0.5, "reward_gain": 0.1, "kl": 1.0},
    "seconds": {"wall": 2.0, "cpu": 3.0},
    "peak_memory_mb": 100.0,
    "versions": {"python": "3", "platform": "Linux"},
    "revision": "abc",
  }
  return Row(**{**fields, **changes})


NASTY = "<script>document.title = 'bad'</script>"
ERROR = f"not finite at step 12 {NASTY}"
KL = {"ipo": 1.5, "dpo": 2.0, f"kto {NASTY}": 0.5, "dro_v": 0.25}


def page_rows():
  """Rows that make every part of a page, of names that are hard to keep."""
  rows, met = [], []
  for place, (label, kl) in enumerate(KL.items()):
    for seed in range(3):
      win = 0.9 - 0.1 * place + 0.01 * seed
      row = make_row(
        label,
        seed,
        metrics={"win_vs_sft": win, "reward_gain": win - 0.5, "kl": kl, "x": 1},
        folds={"win_vs_sft": [win - 0.1, win + 0.1]},
        curves={"win_vs_sft": [[0, 0.5], [150, 0.6], [300, win]]},
        duels={other: 0.4 for other, at in met if at == seed},
        samples=[Sample(f"REV a b {NASTY}", f"b a {place}", 1 - place)],
        command=f"python -m benchmarks.run --methods='{label}'",
      )
      met.append((label, seed))
      rows.append(row)
  control = {"win_vs_sft": 0.6, "reward_gain": 0.0, "kl": 0.0}
  rows += [
    make_row("sft", control=True, metrics=control),
    make_row("dpo", 3, metrics={}, status="failed", error=ERROR),
    make_row("slic", budget={**BUDGET, "steps": 900}),
    *[
      make_row(label, track="theory", metrics={"regret": regret})
      for label, regret in (("dro_v", 1e-6), ("kto", 2.0))
    ],
  ]
  return rows
