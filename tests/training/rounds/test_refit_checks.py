"""What a refit cannot be, and the sentence that says so."""

import re

import pytest
import refits
import rounds

from offalign import Run
from offalign.errors import UserError

OTHER = "refit(judge='gold.py:gold')"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return refits.reward_model(tmp_path_factory.mktemp("refitting"))


@pytest.mark.parametrize(
  ("changes", "why"),
  [
    ({"grow": {"refit": OTHER}}, "is not the model of one run"),
    (
      {"grow": {"refit": OTHER, "score": "reward_model(runs='RM,b')"}},
      "is not the model of one run",
    ),
    (
      {"grow": {"refit": "refit(judge=\"reward_model(run='RM')\")"}},
      "labels by the model that is trained on them teach it nothing",
    ),
    (
      {"grow": {"refit": "refit(judge=\"ratings(file='a')\")"}},
      "ratings are of completions that are there already",
    ),
    ({"grow": {"refit": OTHER, "stop": 1}}, "grow.stop compares scores"),
    (
      {"grow": {"refit": OTHER}, "keep_best": "eval_score"},
      "keep_best compares scores",
    ),
    ({"grow": {"refit": OTHER, "samples": 1}}, "compares samples of a prompt"),
    (
      {"grow": {"refit": OTHER, "score": None, "prompts": None}},
      "nothing scores completions",
    ),
  ],
)
def test_it_is_refused(folder, tmp_path, monkeypatch, changes, why):
  monkeypatch.chdir(folder)
  grow = dict(changes["grow"])
  if "is not the model" not in why:
    grow = {"score": "reward_model(run='RM')"} | grow
  grow = {
    k: v.replace("RM", str(folder / "rm")) if isinstance(v, str) else v
    for k, v in grow.items()
  }
  changes = {"loss": "dro_v", **changes, "grow": grow}
  said = rounds.refused(tmp_path, **changes)
  assert re.search(why, said), said


def test_first_data_that_is_gone_is_refused(folder, tmp_path):
  pairs = folder / "pairs.jsonl"
  pairs.rename(folder / "away")
  try:
    with pytest.raises(UserError, match="is not there to be replayed"):
      Run(**refits.options(folder, tmp_path / "out"))
    Run(**refits.options(folder, tmp_path / "out", replay=0))
  finally:
    (folder / "away").rename(pairs)
