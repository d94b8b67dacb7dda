import json

import pytest

from offalign.audit import AuditConfig, audit

ROWS = [
  {"prompt": f"p{i // 3}", "completion": "w " * (i % 7 + 1), "reward": i % 5}
  for i in range(30)
]


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data")

  def report(name, rows, **options):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return audit(str(path), AuditConfig(**options))

  pairs = [
    {
      "prompt": f"<b>{i // 2}</b>",
      "chosen": "a " * (i % 5 + 2),
      "rejected": "b " * (i % 3 + 1),
      "chosen_reward": i / 10,
      "rejected_reward": -i / 10,
    }
    for i in range(12)
  ]
  return [
    report("traj.jsonl", ROWS, tokenizer="byte", max_completion=6),
    report("pairs.jsonl", pairs, methods=False),
    report("bad.jsonl", [{**ROWS[0], "prompt": None}], methods=False),
    report(
      "label.jsonl",
      [{"prompt": "<p>", "completion": "", "label": i > 8} for i in range(9)],
      methods=False,
    ),
  ]
