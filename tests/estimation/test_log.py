"""The evidence of a log: rewards, weights, and what a model says."""

import types

import numpy as np
import pytest

from offalign.data import Record
from offalign.errors import UserError
from offalign.estimation import log as log_lib


@pytest.fixture
def scored(monkeypatch):
  """Policies whose log-probs are minus the length of a completion, times a."""

  def logps(model, params, tokenizer, records, **_):
    most = max(len(record.completions) for record in records)
    out = np.full((len(records), most), np.nan)
    for i, record in enumerate(records):
      for k, text in enumerate(record.completions):
        out[i, k] = -model * len(text)
    return out

  monkeypatch.setattr(log_lib.scoring, "logps", logps)
  monkeypatch.setattr(log_lib, "refuse_as_policy", lambda *_: None)

  def policy(a):
    def generate(prompts, *, samples, **_):
      return [types.SimpleNamespace(text="ab")] * (len(prompts) * samples)

    return types.SimpleNamespace(
      model=a,
      params=None,
      tokenizer=None,
      folder="",
      about={},
      generate=generate,
    )

  return policy


def record(prompt, *texts, **other):
  fields = {"rewards": None, "labels": None, "ranked": False, "source": "f:0"}
  return Record(prompt=prompt, completions=texts, **{**fields, **other})


def test_groups_thumbs_and_prompts_are_read_in_order(scored):
  records = [
    record("x", "a", "bcd", rewards=(1.0, 2.0)),
    record("y", "ef", labels=(True,)),
    record("x", "g", labels=(False,)),
  ]
  found = log_lib.from_log(scored(2.0), records, behaviour=scored(1.0))
  assert found.prompts.tolist() == [0, 0, 1, 0]
  assert found.rewards.tolist() == [1, 2, 1, 0]
  assert found.log_weights.tolist() == [-1, -3, -2, -1]
  assert found.direct is None


def test_a_model_scores_the_log_and_samples_of_the_policy(scored):
  texts = ("a", "bb", "ccc", "dddd")
  records = [
    record(f"p{i}", text, rewards=(3.0 * len(text) - 1,))
    for i, text in enumerate(texts)
  ]
  found = log_lib.from_log(
    scored(1.0),
    records,
    behaviour=scored(1.0),
    scorer=lambda pairs: np.array([10.0 + len(text) for _, text in pairs]),
    samples=3,
  )
  assert found.modelled.tolist() == [11, 12, 13, 14]
  assert found.direct.tolist() == [12] * 4


def test_who_wrote_the_log_is_said_once(scored):
  logged = record("x", "a", rewards=(1.0,), behaviour_logps=(-1.0,))
  bare = record("x", "a", rewards=(1.0,))
  found = log_lib.from_log(scored(2.0), [logged])
  assert found.log_weights.tolist() == [-1.0]
  with pytest.raises(UserError, match="leave it out"):
    log_lib.from_log(scored(2.0), [logged], behaviour=scored(1.0))
  with pytest.raises(UserError, match="1 of 2 rows have no behaviour_logps"):
    log_lib.from_log(scored(2.0), [logged, bare])
  with pytest.raises(UserError, match="f:0 has no reward and no thumb"):
    log_lib.from_log(scored(2.0), [record("x", "a")])
