"""The audit names rewards that are far from all others, and no others."""

import json

import pytest

from offalign.audit import audit


def findings(path, rewards):
  rows = [
    {"prompt": f"p{i}", "completion": f"c{i}", "reward": reward}
    for i, reward in enumerate(rewards)
  ]
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return {found.kind: found for found in audit(str(path)).findings}


@pytest.mark.parametrize("sentinel", [1e30, -1e30, -9999.0])
def test_a_reward_far_from_all_others_is_named(sentinel, tmp_path):
  path = tmp_path / "log.jsonl"
  found = findings(path, [0.0, 0.5, 1.0, sentinel, 0.25, 0.75])["outlying"]
  assert (found.severity, found.count) == ("warning", 1)
  assert found.where == (f"{path}, row 3: {sentinel:g}",)


def test_rewards_and_thumbs_as_they_are_logged_pass(tmp_path):
  path = tmp_path / "log.jsonl"
  assert "outlying" not in findings(path, [0.0, 0.5, 1.0, 7.0])
  assert "outlying" not in findings(path, [0.0] * 30 + [1.0])
