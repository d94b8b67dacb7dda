import collections

from audit_cases import QUICK, rated

from offalign import data
from offalign.audit import audit


def test_repeats(put, where):
  rows = rated(4)
  found = audit(put(rows), QUICK).repeats
  table = data.load(put(rows))
  assert found.rows.count == table.summary.counts["duplicate_rows"]
  texts = collections.defaultdict(list)
  for row in rows:
    texts[row["prompt"], row["completion"]].append(row["reward"])
  assert found.texts == sum(len(r) > 1 for r in texts.values())
  conflicts = sum(len(set(r)) > 1 for r in texts.values())
  assert found.conflicts.count == conflicts > 0


def test_contradicting_pairs(put, where):
  def pair(prompt, chosen, rejected):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}

  rows = [pair("p", "a", "b"), pair("q", "a", "b"), pair("p", "c", "a")]
  rows += [pair("p", "b", "a"), pair("p", "a", "a"), pair("q", "b", "c")]
  rows += [pair("r", f"x{i}", f"y{i}") for i in range(9)]
  report = audit(put(rows), QUICK)
  (found,) = [f for f in report.findings if f.kind == "contradictions"]
  assert found.count == 1
  assert found.where[0].endswith("row 3 is the reverse of row 0")
  assert report.facts.pairs == len(rows) - 1
  assert report.measures.groups.sizes == {3: 2, 18: 1}


def test_prompts_that_are_nearly_the_same(put, where):
  prompts = ["What is it?", "what  is it?\n", "What is it", "What is it?"]
  rows = [{"prompt": p, "completion": f"{i}"} for i, p in enumerate(prompts)]
  rows += [{"prompt": f"p{i}", "completion": "c"} for i in range(20)]
  report = audit(put(rows), QUICK)
  (found,) = [f for f in report.findings if f.kind == "near_prompts"]
  assert found.count == 1
  assert found.where[0].endswith("row 1 is like row 0")
