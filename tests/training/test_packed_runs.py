"""Runs that pack their batches: the same figures from fewer tokens."""

import dataclasses
import re

import chex
import jax
import numpy as np
import pytest
import runs
from families import FAMILIES, V, rows, weights
from runs import After

from offalign import data, models
from offalign.data import Record
from offalign.data.batches.packing.fill import lengths, members, pack
from offalign.data.batches.packing.packing import Cut, Packing
from offalign.data.batches.packing.shape import fit
from offalign.distributed import sharding
from offalign.distributed.sharding import MeshConfig
from offalign.distributed.signals import Stopped
from offalign.learner import Learner, LearnerConfig
from offalign.training.metrics import finish
from offalign.training.run import Run
from offalign.types import Kind

pytestmark = [
  pytest.mark.slow,
  pytest.mark.usefixtures("compiled_once"),
]


LONG = {"data.max_prompt": 64, "data.max_completion": 32}


@pytest.fixture
def log(tmp_path):
  """Four completions of each of 16 prompts, of many lengths."""
  rng = np.random.default_rng(2)
  rows = [
    {
      "prompt": f"{i}" + "?" * int(length),
      "completion": "yes" * int(rng.choice([1, 9], p=[0.8, 0.2])) + str(k),
      "reward": float(rng.normal()),
    }
    for i, length in enumerate(rng.choice([2, 50], 16, p=[0.8, 0.2]))
    for k in range(4)
  ]
  return runs.write(tmp_path / "log.jsonl", rows)


@pytest.mark.usefixtures("one_device")
def test_a_run_logs_what_it_does_without(log, tmp_path, capsys):
  how = {"loss": "kto", "microbatches": 2, "steps": 2, **LONG}
  runs.train(log, tmp_path / "plain", log_every=1, **how)
  assert "packing" not in capsys.readouterr().out
  runs.train(log, tmp_path / "packed", log_every=1, packing=True, **how)
  said = capsys.readouterr().out
  assert re.search(r"packing, train: \d+ rows of ", said)
  assert re.search(r"packing, held out: \d+ rows of ", said)
  plain, packed = (
    runs.metrics(tmp_path / name) for name in ("plain", "packed")
  )
  assert len(plain) == len(packed) == 4
  for a, b in zip(plain, packed, strict=True):
    assert a.keys() == b.keys()
    for name in a:
      assert b[name] == pytest.approx(a[name], rel=1e-4, abs=1e-5), name


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize("loss", ["weighted_dro_v", "weighted_dpo"])
def test_feedback_on_parts_is_the_same_packed_and_in_pieces(
  loss, tmp_path, capsys
):
  """Spans of a file, in packed microbatches and in plain batches."""
  log = tmp_path / "parts.jsonl"
  runs.write(log, [parts(loss, i) for i in range(32)])
  how = {"loss": loss, "steps": 2, "log_every": 1, **LONG}
  runs.train(log, tmp_path / "plain", **how)
  capsys.readouterr()
  runs.train(log, tmp_path / "packed", packing=True, microbatches=2, **how)
  assert re.search(r"packing, train: \d+ rows of ", capsys.readouterr().out)
  plain, packed = (
    runs.metrics(tmp_path / name) for name in ("plain", "packed")
  )
  assert len(plain) == len(packed) > 0
  for a, b in zip(plain, packed, strict=True):
    assert a.keys() == b.keys()
    if a["step"] == 1:
      # Policy and reference are the same: margins are nothing but rounding,
      # and so is the share of them that is above zero.
      assert abs(a.get("rewards/margins", 0.0)) < 1e-5
      a.pop("rewards/accuracies", None)
    for name in a:
      assert b[name] == pytest.approx(a[name], rel=1e-4, abs=1e-5), name


def parts(loss, i):
  """A row, often short and sometimes long, with spans."""
  rng = np.random.default_rng(i)
  prompt = f"{i}" + "?" * (2 if rng.random() < 0.8 else 50)
  texts = ["yes" * (1 if rng.random() < 0.8 else 9) + x for x in "ab"]
  if loss == "weighted_dpo":
    sides = zip(("chosen", "rejected"), texts, strict=True)
    row = {"prompt": prompt}
    for side, text in sides:
      span = {"start": 1, "end": len(text), "weight": float(rng.integers(4))}
      row |= {side: text, f"{side}_spans": [span]}
    return row
  spans = [
    {"start": start, "end": end, "reward": float(rng.normal())}
    for start, end in ((0, 2), (3, len(texts[0])))
  ]
  return {"prompt": prompt, "completion": texts[0], "spans": spans}


@pytest.mark.usefixtures("one_device")
def test_a_run_that_goes_on_ends_with_the_same_bits(log, tmp_path):
  how = {"packing": True, **LONG}
  whole = runs.train(log, tmp_path / "whole", **how)
  cut = Run(runs.config(log, tmp_path / "cut", **how))
  with pytest.raises(Stopped):
    cut.train(After(11))
  assert 0 < int(runs.state_of(cut).step) < 4
  runs.train(log, cut.folder, **how)
  assert runs.metrics(cut.folder) == runs.metrics(whole.folder)
  chex.assert_trees_all_equal(runs.state_of(cut), runs.state_of(whole))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mesh_and_microbatches_change_nothing(family, capfd):
  """A step of DRO-V with a value network of its own."""
  model = models.make(FAMILIES[family], vocab_size=V)
  policy, host = weights(family)[0], rows(Kind.PAIR)

  def train(mesh, batch, microbatches):
    learner = Learner(
      "dro_v", model, LearnerConfig(microbatches=microbatches), mesh
    )
    state = learner.init(
      jax.device_put(
        policy, sharding.state_shardings(mesh, policy, model.splits)
      )
    )
    placed = sharding.put_batch(mesh, batch)
    state, metrics = learner.train_step(state, placed)
    # Adam's first moments are the gradients, clipped and scaled.
    moments = {name: s[1][0].mu for name, s in state.opt_state.items()}
    return finish(metrics), jax.device_get(moments)

  want, gradient = train(sharding.one_device(), host, 1)
  cut = {"shards": 4, "microbatches": 2}
  prompt, completion = lengths(host)
  groups = members(len(prompt), **cut)
  shape = fit(prompt[groups], completion.sum(1)[groups], 1)
  packed = dataclasses.replace(host, packed=pack(host, shape, **cut))
  found, got = train(sharding.make_mesh(MeshConfig(2, 2, 2)), packed, 2)
  assert "Involuntary" not in capfd.readouterr().err
  assert found == pytest.approx(want, rel=1e-5, abs=1e-6)
  scale = max(np.abs(g).max() for g in jax.tree.leaves(gradient))
  assert scale > 0
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * scale),
    got,
    gradient,
  )


def test_batches_that_packing_would_not_help_are_left_alone():
  """All of one length, and so short that attention is most of the cost."""
  records = [
    Record(f"p{i}", ("yy", "nn"), None, None, True, "f") for i in range(8)
  ]
  tokenizer = data.make_tokenizer("byte")
  view = data.view(records, Kind.PAIR)
  found = data.tokenize(view, tokenizer)
  drawn = [(np.arange(8), np.ones(8, np.float32))]
  packing = Packing(found, drawn, Cut(2, 1, width=2), mismatched=True)
  assert not packing.pays
  assert str(packing).startswith("batches are left as they are")
  host = data.batch(found, drawn[0][0])
  assert packing.onto(host, *drawn[0], np.arange(8)) is host
