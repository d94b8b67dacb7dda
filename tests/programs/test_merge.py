"""`offalign merge`: what it writes and says, and its mistakes."""

import merges
import pytest
import runs

from offalign.policy.policy import Policy
from offalign.programs import merge

pytestmark = pytest.mark.usefixtures("compiled_once", "one_device")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
  root = tmp_path_factory.mktemp("m")
  log = runs.write_log(root / "log.jsonl", prompts=8)
  return [str(merges.write(log, root / f"p{i}", i)) for i in (1, 2)]


def test_it_writes_a_run(pair, tmp_path, capsys):
  out = tmp_path / "m"
  assert runs.program(merge, *pair, f"--out={out}", "--weights=3,1") == 0
  said = capsys.readouterr().out
  assert f"0.7500 of {pair[0]} at step 0" in said
  assert f"wrote the mean of 2 checkpoints to {out}" in said
  shares = [x["share"] for x in Policy.load(out).about["merged"]["runs"]]
  assert shares == [0.75, 0.25]


@pytest.mark.parametrize(
  ("arguments", "error"),
  [
    ((), "no run is named"),
    (("{0}", "{1}"), "--out is missing"),
    (("{0}", "--out={out}"), "is of two runs or more"),
    (("{0}", "{1}", "--out={out}", "--how=sum"), "--how='sum' is no merge"),
    (("{0}", "{1}", "--out={out}", "--decay=0.5"), "--decay=0.5 is for ema"),
    (("{0}", "{1}", "--out={out}", "--weights=a,b"), "--weights=a,b are no"),
    (("{0}", "{1}", "--out={out}", "--weights=1"), "--weights are 1, and"),
    (("{0}", "--out={out}", "--how=ema"), "has one checkpoint to average"),
    (("{0}", "nowhere", "--out={out}"), "nowhere is not a run folder"),
  ],
)
def test_mistakes_are_sentences(pair, tmp_path, arguments, error, capsys):
  given = [x.format(*pair, out=tmp_path / "x") for x in arguments]
  assert runs.program(merge, *given) == 2
  said = capsys.readouterr().err
  assert error in said
  assert said.count("\n") == 1
  assert not (tmp_path / "x").exists()
