"""Feedback on parts, read from files: one step, however it is computed."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest
from sequences import V, objective, packed, params_for, weights

from offalign import data, losses
from offalign.data.batches.batch import batch
from offalign.data.text.ragged import Ragged
from offalign.data.text.tokenizer import Tokenizer
from offalign.distributed import sharding
from offalign.learner.value import ValueConfig

BYTES = Tokenizer.byte()
WEIGHT = np.array([1, 2, 0, 0.5, 1, 1, 0, 3, 1, 0.25, 1, 0])
"""Of the rows of a batch."""
same = functools.partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-10)


@pytest.fixture(autouse=True)
def _double():
  with jax.enable_x64(True):
    yield


def words(i, joint=" "):
  """A text of two to four words, and the characters of each."""
  rng = np.random.default_rng(i)
  found = rng.choice(["ab", "cde", "f", "ghij", "🦙k"], rng.integers(2, 5))
  ends = np.cumsum([len(word) + len(joint) for word in found]) - len(joint)
  places = [(int(e) - len(w), int(e)) for w, e in zip(found, ends, strict=True)]
  return joint.join(found), places, rng


def by_token(text, spans, outside):
  """Weights of bytes; the end of the completion goes with its last."""
  each = [outside] * len(text)
  for start, end, weight in spans:
    each[start:end] = [weight] * (end - start)
  pairs = zip(text, each, strict=True)
  return [w for c, w in pairs for _ in c.encode()] + each[-1:]


def rated_spans(i):
  """Every word is rated; some count for more."""
  text, places, rng = words(i)
  spans, rows = [], []
  for start, end in places:
    span = {"start": start, "end": end, "reward": round(rng.normal(), 2)}
    weight = float(rng.integers(1, 4))
    spans.append(span | ({"weight": weight} if weight > 1 else {}))
    counted = by_token(text, [(start, end, weight)], 0.0)
    rows.append(([counted], [span["reward"]]))
  return {"completion": text, "spans": spans}, rows


def rated_steps(i):
  """Steps with a thumb, or with none."""
  text, places, rng = words(i, "\n")
  thumbs = [(True, False, None)[rng.integers(0, 3)] for _ in places]
  thumbs[0] = bool(i % 2)
  steps, rows = [], []
  for (start, end), label in zip(places, thumbs, strict=True):
    steps.append({"text": text[start:end], "label": label})
    if label is not None:
      counted = by_token(text, [(start, end, 1.0)], 0.0)
      rows.append(([counted], [float(label)]))
  return {"steps": steps}, rows


def weighed(text, places, rng):
  """Spans of some words, and the weights of the bytes."""
  spans = [
    (start, end, float(rng.integers(0, 4)))
    for start, end in places
    if rng.random() > 0.3
  ]
  names = ("start", "end", "weight")
  listed = [dict(zip(names, span, strict=True)) for span in spans]
  return listed, by_token(text, spans, 1.0)


def weighed_spans(i):
  """A reward of the whole, of which words count more, less or nothing."""
  text, places, rng = words(i)
  reward = round(rng.normal(), 2)
  spans, counted = weighed(text, places, rng)
  row = {"completion": text, "reward": reward, "spans": spans}
  return row, [([counted], [reward])]


def weighed_tokens(i):
  """Weights as logged, of the tokens that were logged."""
  text, _, rng = words(i)
  (ids,) = BYTES.encode([text])
  counted = np.round(rng.uniform(0, 2, len(ids)) * 4) / 4
  counted[0] = 0.25
  row = {
    "completion": text,
    "reward": 1.0,
    "completion_ids": ids.tolist(),
    "token_weights": counted.tolist(),
  }
  return row, [([counted.tolist()], [1.0])]


def weighed_pairs(i):
  """Pairs, both sides with spans of their own."""
  row, counted = {}, []
  for side, seed in (("chosen", i), ("rejected", i + 50)):
    row[side], places, rng = words(seed)
    row[f"{side}_spans"], own = weighed(row[side], places, rng)
    counted.append(own)
  return row, [(counted, None)]


CASES = {
  "spans": (rated_spans, "weighted_dro_v(tau=0.5)"),
  "steps": (rated_steps, "weighted_dro_v"),
  "weights": (weighed_spans, "weighted_dro_v"),
  "tokens": (weighed_tokens, "weighted_dro_v"),
  "pairs": (weighed_pairs, "weighted_dpo(beta=0.3)"),
}


def read(case, folder):
  """The rows of a file, of tokens below V, and what was written to it."""
  make, spec = CASES[case]
  made = [make(i) for i in range(16)]
  path = folder / "parts.jsonl"
  lines = [
    json.dumps({"prompt": f"q{i:02}", **row}) for i, (row, _) in enumerate(made)
  ]
  path.write_text("\n".join(lines), encoding="utf-8")
  loss = losses.get(spec)
  view = data.view(data.load(str(path)).records, loss.kind, loss.needs)
  rows = data.tokenize(view, BYTES)
  few = lambda x: Ragged(x.tokens % V, x.offsets)
  rows = dataclasses.replace(
    rows,
    prompts=few(rows.prompts),
    completions=few(rows.completions),
    pad_id=0,
  )
  return rows, [row for _, rows in made for row in rows]


def picked(rows):
  """Which rows make the batch: in no order, and one of them twice."""
  order = np.random.default_rng(3).permutation(len(rows))[: len(WEIGHT)]
  order[5] = order[0]
  return order


def batch_of(rows):
  return dataclasses.replace(batch(rows, picked(rows)), weight=WEIGHT)


def log_ratios(prompt, tokens):
  """Of each token, by a loop over tokens; nats."""
  before, out = prompt[-1], []
  tables = []
  for params in (weights(0), weights(1)):
    table = np.asarray(params["embedding"] @ params["head"])
    tables.append(table - np.log(np.exp(table).sum(-1, keepdims=True)))
  for token in tokens:
    out.append(tables[0][before, token] - tables[1][before, token])
    before = token
  return out


def by_hand(case, params, rows, host, told):
  """Losses [B] from what was written to the file."""
  out = []
  for b, n in enumerate(picked(rows)):
    counted, rewards = told[n]
    rho = []
    for k, each in enumerate(counted):
      tokens = host.completions[b, k][host.completion_mask[b, k]]
      ratios = log_ratios(host.prompts[b], tokens)
      assert len(ratios) == len(each)
      rho.append(float(np.dot(ratios, each)))
    if case == "pairs":
      out.append(np.log1p(np.exp(-0.3 * (rho[0] - rho[1]))))
      continue
    head, trunk = params["value"]["head"], params["value"]["trunk"]
    state = trunk["embedding"][host.prompts[b, -1]]
    value = float(np.squeeze(state @ head["kernel"] + head["bias"]))
    tau = 0.5 if case == "spans" else 1.0
    reward = float(np.float32(rewards[0]))
    out.append(0.5 * (reward - value - tau * rho[0]) ** 2)
  return np.array(out)


@functools.partial(jax.jit, static_argnums=0)
def step(objective, params, rows, reference):
  return objective.grads(params, rows, reference)


@pytest.mark.parametrize("case", CASES)
def test_losses_are_those_of_what_was_written(case, tmp_path):
  rows, told = read(case, tmp_path)
  assert len(rows) == len(told)
  host = batch_of(rows)
  plain = objective(CASES[case][1])
  params = params_for(plain)
  _, found, means = step(plain, params, host, weights(1))
  want = by_hand(case, params, rows, host, told)
  same(found, want)
  assert means["loss"][0] / means["loss"][1] == pytest.approx(
    float((WEIGHT * want).sum() / WEIGHT.sum())
  )


def stored(rows):
  """The rows with the reference's log-probs of each distinct sequence."""
  table = np.asarray(weights(1)["embedding"] @ weights(1)["head"])
  table = table - np.log(np.exp(table).sum(-1, keepdims=True))
  found = []
  for u, q in enumerate(rows.completion_prompt):
    tokens = rows.completions[u]
    before = np.concatenate([rows.prompts[q][-1:], tokens[:-1]])
    found.append(table[before, tokens])
  return dataclasses.replace(rows, ref_token_logps=Ragged.of(found, np.float64))


@pytest.mark.parametrize(
  ("case", "value"),
  [
    ("spans", None),
    ("spans", ValueConfig(per="token")),
    ("steps", ValueConfig("shared", "batch")),
    ("pairs", None),
  ],
  ids=str,
)
def test_a_step_is_the_same_however_it_is_computed(case, value, tmp_path):
  rows, _ = read(case, tmp_path)
  host, reference = batch_of(rows), weights(1)
  plain = objective(CASES[case][1], value)
  params = params_for(plain)
  want, want_losses, want_means = step(plain, params, host, reference)
  cut = dataclasses.replace(plain, microbatches=3)
  length = rows.completion_length + 3
  wide = dataclasses.replace(rows, completion_length=length)
  ways = {
    "microbatches": (cut, host, reference),
    "packed": (cut, packed(host, 2, 3), reference),
    "padding": (plain, batch_of(wide), reference),
    "stored reference": (
      dataclasses.replace(cut, logp_chunk=2),
      packed(batch_of(stored(rows)), 2, 3),
      None,
    ),
  }
  counts = WEIGHT > 0
  for name, (way, rows, ref) in ways.items():
    got, got_losses, got_means = step(way, params, rows, ref)
    jax.tree.map(functools.partial(same, err_msg=name), got, want)
    same(got_losses[counts], want_losses[counts], err_msg=name)
    jax.tree.map(same, got_means, want_means)


@pytest.mark.parametrize("case", ["spans", "pairs"])
def test_a_mesh_of_packed_microbatches_changes_no_step(case, tmp_path):
  rows, _ = read(case, tmp_path)
  host = jax.tree.map(lambda x: np.concatenate([x, x[:4]]), batch_of(rows))
  plain = objective(CASES[case][1])
  params = params_for(plain)
  want, _, want_means = step(plain, params, host, weights(1))
  mesh = sharding.make_mesh()
  placed = sharding.put_batch(mesh, packed(host, mesh.size, 2))
  cut = dataclasses.replace(plain, microbatches=2)
  got, _, got_means = step(cut, params, placed, weights(1))
  jax.tree.map(same, got, want)
  jax.tree.map(same, got_means, want_means)
