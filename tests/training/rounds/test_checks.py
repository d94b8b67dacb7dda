"""What rounds cannot be combined with, and the sentence that says so."""

import re

import pytest
import rounds

COMPARES = "endpoint(url='http://localhost:1/v1', model=m)"


@pytest.mark.parametrize(
  ("loss", "changes", "why"),
  [
    ("rloo(beta=0.0)", {"packing": True}, "packing=True is set, but the rows"),
    ("bradley_terry", {}, "trains a reward model, which completes nothing"),
    ("sft", {}, "loss 'sft' reads no scores, so that all samples would be"),
    ("dpo", {"grow": {"samples": 1}}, "grow.samples=1: loss 'dpo' compares"),
    (
      "dpo",
      {"grow": {"thresholds": "1"}},
      "thresholds is set, but loss 'dpo' compares completions",
    ),
    ("dro_v", {"grow": {"label": "1"}}, "loss 'dro_v' reads no labels"),
    (
      "rloo(beta=0.0)",
      {"reference": "round"},
      "has no reference; leave it out",
    ),
    (
      "dpo",
      {"reference": "ema(0.5)", "lora": {"rank": 2}},
      r"averages all weights, and LoRA \(lora.rank\)",
    ),
    (
      "dro_v",
      {"grow": {"score": COMPARES, "samples": 1}},
      r"grow.samples=1: grow.score compares the samples",
    ),
    (
      "dro_v",
      {"grow": {"score": COMPARES, "stop": 2}},
      r"grow.stop goes by the score of held-out prompts, which have one",
    ),
    (
      "dro_v",
      {"grow": {"score": COMPARES}, "keep_best": "eval_score"},
      r"keep_best goes by .* or keep the best by a judge \(grow.judge, select",
    ),
    ("ppo(cliprange_value=0.2)", {}, "reads old_token_values, which samples"),
    ("dro_v", {"data": {"normalize_by": "prompt"}}, "that of the first"),
    ("dro_v", {"data": {"pairs": "all"}}, "this loss does not take pairs"),
    ("dro_v", {"data": {"form": "traj"}}, "data.path is missing: there is"),
    ("dro_v", {"grow": {"prompts": None}}, "prompts to complete, grow.prompts"),
    ("dro_v", {"grow": {"prompts": "none.jsonl"}}, "there is no such file"),
    ("dro_v", {"grow": {"score": "none.py:f"}}, "grow.score.*cannot be had"),
    ("dro_v", {"grow": {"other": "nowhere"}}, "nowhere"),
    (
      "dro_v",
      {"grow": {"score": None, "samples": None, "prompts": None}},
      "nothing scores completions",
    ),
    ("dro_v", {"epochs": 1.0}, "rounds have rows of their own"),
  ],
)
def test_it_is_refused(tmp_path, loss, changes, why):
  said = rounds.refused(tmp_path, loss, **changes)
  assert re.search(why, said), said
