import pytest

from offalign import data
from offalign.audit import AuditConfig, audit, methods_that_fit
from offalign.errors import UserError

TABLES = {
  "traj": [
    {"prompt": f"p{i // 3}", "completion": f"c{i}", "reward": i % 3 / 2}
    for i in range(12)
  ],
  "traj_alone": [
    {"prompt": f"p{i}", "completion": "c", "reward": float(i)} for i in range(6)
  ],
  "traj_flat": [
    {"prompt": f"p{i // 3}", "completion": f"c{i}", "reward": float(i // 3)}
    for i in range(6)
  ],
  "traj_logged": [
    {
      "prompt": f"p{i // 3}",
      "completion": f"c{i}",
      "reward": i % 3 / 2,
      "behaviour_logps": -1.0,
    }
    for i in range(6)
  ],
  "label": [
    {"prompt": f"p{i // 2}", "completion": f"c{i}", "label": i % 2 == 0}
    for i in range(8)
  ],
  "label_alone": [
    {"prompt": f"p{i}", "completion": f"c{i}", "label": i % 2 == 0}
    for i in range(8)
  ],
  "pairs": [
    {"prompt": f"p{i}", "chosen": f"a{i}", "rejected": f"b{i}"}
    for i in range(5)
  ],
  "pairs_rated": [
    {
      "prompt": f"p{i}",
      "chosen": f"a{i}",
      "rejected": f"b{i}",
      "chosen_reward": 1.0,
      "rejected_reward": i / 5,
    }
    for i in range(5)
  ],
  "spans_rated": [
    {
      "prompt": f"p{i}",
      "completion": "ab",
      "spans": [{"start": 0, "end": 1, "reward": float(i)}],
    }
    for i in range(4)
  ],
  "spans_weighted": [
    {
      "prompt": f"p{i}",
      "chosen": "ab",
      "rejected": "c",
      "chosen_spans": [{"start": 0, "end": 1, "weight": 2.0}],
      "rejected_spans": None,
    }
    for i in range(4)
  ],
  "turns_rated": [
    {
      "messages": [
        {"role": role, "content": f"{i}{role}", "reward": float(i)}
        for role in ("user", "assistant") * 2
      ]
    }
    for i in range(3)
  ],
  "pairs_equal": [
    {"prompt": f"p{i}", "chosen": "a", "rejected": "a"} for i in range(3)
  ],
  "pairs_equal_rated": [
    {
      "prompt": f"p{i}",
      "chosen": "a",
      "rejected": "a",
      "chosen_reward": 1.0,
      "rejected_reward": 0.5,
    }
    for i in range(3)
  ],
  "groups": [
    {"prompt": f"p{i}", "completions": ["a", "b"], "rewards": [0.0, i / 2]}
    for i in range(4)
  ],
  "sft": [{"prompt": f"p{i}", "completion": "c"} for i in range(4)],
}


@pytest.mark.parametrize("name", TABLES)
def test_verdicts_are_those_of_the_views(put, name):
  path = put(TABLES[name])
  facts = audit(path, AuditConfig(methods=False)).facts
  records = data.load(path).records
  for loss in methods_that_fit.variants():
    verdict, why = methods_that_fit.judge(loss, facts)
    try:
      data.view(records, loss.kind, loss.needs)
      refused = None
    except UserError as error:
      refused = str(error)
    assert (verdict == "no") == (refused is not None), (loss, why, refused)


def test_every_registered_loss_is_judged_once():
  from offalign import losses

  names = [loss.name for loss in methods_that_fit.variants()]
  assert set(names) == set(losses.names())
  specs = [str(loss) for loss in methods_that_fit.variants()]
  assert len(specs) == len(set(specs))
  assert "kto(threshold=prompt)" in specs


def test_reasons_have_the_numbers(put):
  found = audit(put(TABLES["traj"])).methods
  reason = {m: fit.why for fit in found for m in fit.methods}
  verdict = {m: fit.verdict for fit in found for m in fit.methods}
  assert "of their variance is between prompts" in reason["dro_v"]
  assert "which the value function takes out" in reason["dro_v"]
  assert "pairs are made in 4 prompts" in reason["dpo"]
  assert (verdict["dro_v"], verdict["dpo"], verdict["kto"]) == (
    "fits",
    "converts",
    "converts",
  )
