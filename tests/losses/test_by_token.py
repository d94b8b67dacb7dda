"""Losses by token against plain loops in float64, values and gradients."""

import numpy as np
import pytest

from offalign import losses
from offalign.errors import UserError
from offalign.testing.losses.arrays import evaluate
from offalign.testing.losses.contracts import check_loss

SPECS = (
  "ppo(whiten=True)",
  "ppo(kl_coef=0.0)",
  "ppo(cliprange_value=0.2)",
  "ppo(kl_coef=0.0, kl_loss_coef=0.1)",
  "grpo(ratio=token)",
  "grpo(kl=token)",
  "grpo(ratio=token, kl=token, behaviour=logged)",
  "grpo(ratio=token, loss_type=dapo, clip_high=0.28, beta=0, behaviour=logged)",
  "grpo(ratio=token, loss_type=cispo, behaviour=logged)",
  "grpo(ratio=token, loss_type=dr_grpo, max_completion_length=8)",
)


@pytest.mark.parametrize("spec", SPECS)
def test_the_forms_keep_the_contracts(spec):
  check_loss(spec)


def table(k=3, seed=0):
  """Four prompts; lengths from 1 to T = 6; junk behind the end."""
  rng = np.random.default_rng(seed)
  shape = (4, k, 6)
  lengths = rng.integers(1, 7, shape[:2])
  lengths[0, 0], lengths[1, 0] = 1, 6
  ref = -rng.uniform(0.2, 2.0, shape)
  old = ref + rng.normal(scale=0.3, size=shape)
  return {
    "token_mask": np.arange(6) < lengths[..., None],
    "token_logps": old + rng.normal(scale=0.3, size=shape),
    "behaviour_token_logps": old,
    "ref_token_logps": ref,
    "token_values": (values := rng.normal(size=shape)),
    "old_token_values": values + rng.normal(scale=0.5, size=shape),
    "token_weights": rng.uniform(0.0, 2.0, shape),
    "token_kls": rng.uniform(0.0, 0.5, shape),
    "rewards": rng.normal(size=shape[:2]),
  }


def ppo(t, *, kl=0.05, gamma=1.0, lam=0.95, values="token_values"):
  """Advantages token by token, not whitened."""
  mask = t["token_mask"]
  advantages = np.zeros(mask.shape)
  for b, k in np.ndindex(mask.shape[:2]):
    n = mask[b, k].sum()
    v = [*t[values][b, k, :n], 0.0]
    later = 0.0
    for i in reversed(range(n)):
      spent = (
        t["behaviour_token_logps"][b, k, i] - t["ref_token_logps"][b, k, i]
      )
      reward = -kl * spent + (t["rewards"][b, k] if i == n - 1 else 0.0)
      later = reward + gamma * v[i + 1] - v[i] + gamma * lam * later
      advantages[b, k, i] = later
  return advantages


def ppo_loss(
  t, advantages, fitted, *, kl_loss=0.0, clip=0.2, vf=0.1, value_clip=np.inf
):
  mask = t["token_mask"]
  out = np.zeros(len(mask))
  for b, k in np.ndindex(mask.shape[:2]):
    for i in range(mask[b, k].sum()):
      old = t["behaviour_token_logps"][b, k, i]
      logp, a = t["token_logps"][b, k, i], advantages[b, k, i]
      w = np.exp(logp - old)
      held = min(max(w, 1 - clip), 1 + clip)
      u = t["ref_token_logps"][b, k, i] - logp
      value = t["token_values"][b, k, i]
      out[b] += -min(w * a, held * a) + kl_loss * (np.exp(u) - u - 1)
      before = t["old_token_values"][b, k, i]
      near = min(max(value, before - value_clip), before + value_clip)
      errors = [(v - fitted[b, k, i]) ** 2 for v in (value, near)]
      out[b] += vf * 0.5 * max(errors)
  k = mask.shape[1]
  return out / k / (mask.sum() / (len(mask) * k))


def slope(fn, t, name, index, step=1e-6):
  """A central difference of the mean of a row's loss."""
  sides = []
  for sign in (1, -1):
    moved = {**t, name: t[name].copy()}
    moved[name][index] += sign * step
    sides.append(fn(moved).mean())
  return (sides[0] - sides[1]) / (2 * step)


@pytest.mark.parametrize(
  ("spec", "reward", "rest"),
  [
    ("ppo", {}, {}),
    (
      "ppo(kl_coef=0.3, gamma=0.9, lam=0.5)",
      {"kl": 0.3, "gamma": 0.9, "lam": 0.5},
      {},
    ),
    (
      "ppo(kl_coef=0, kl_loss_coef=0.2, cliprange=0.1, vf_coef=0.5)",
      {"kl": 0.0},
      {"kl_loss": 0.2, "clip": 0.1, "vf": 0.5},
    ),
    ("ppo(whiten=True)", {}, {}),
    (
      "ppo(cliprange_value=0.3)",
      {"values": "old_token_values"},
      {"value_clip": 0.3},
    ),
  ],
)
def test_ppo_is_its_formulas(spec, reward, rest):
  t = table(k=1)
  advantages = ppo(t, **reward)
  fitted = advantages + t[reward.get("values", "token_values")]
  if "whiten" in spec:
    seen = advantages[t["token_mask"]]
    advantages = (advantages - seen.mean()) / np.sqrt(seen.var() + 1e-8)
  got = evaluate(spec, lengths=t["token_mask"].sum(-1), **t)

  def loss(table):
    return ppo_loss(table, advantages, fitted, **rest)

  np.testing.assert_allclose(got.values, loss(t), rtol=1e-9, atol=1e-12)
  for name in ("token_logps", "token_values"):
    grads = got.grads[name]
    assert (grads[~t["token_mask"]] == 0).all()
    for index in [(0, 0, 0), (1, 0, 0), (1, 0, 5), (2, 0, 0)]:
      assert grads[index] == pytest.approx(
        slope(loss, t, name, index), abs=1e-8
      )


def distill_loss(t, gaps, *, gamma=0.0, clip=0.2):
  """Of `gaps`, log(pi_b / pi_ref) of every token; a loop over tokens."""
  mask = t["token_mask"]
  out = np.zeros(len(mask))
  for b, k in np.ndindex(mask.shape[:2]):
    n = mask[b, k].sum()
    for i in range(n):
      a = -sum(gamma ** (j - i) * gaps[b, k, j] for j in range(i, n))
      w = np.exp(
        t["token_logps"][b, k, i] - t["behaviour_token_logps"][b, k, i]
      )
      out[b] -= min(w * a, min(max(w, 1 - clip), 1 + clip) * a)
  k = mask.shape[1]
  return out / k / (mask.sum() / (len(mask) * k))


@pytest.mark.parametrize(
  ("spec", "options"),
  [
    ("distill", {}),
    ("distill(gamma=0.7, cliprange=0.1)", {"gamma": 0.7, "clip": 0.1}),
    ("distill(gamma=1)", {"gamma": 1.0}),
  ],
)
def test_distill_is_its_formula(spec, options):
  t = table()
  gaps = t["behaviour_token_logps"] - t["ref_token_logps"]
  got = evaluate(spec, lengths=t["token_mask"].sum(-1), **t)

  def loss(table):
    return distill_loss(table, gaps, **options)

  np.testing.assert_allclose(got.values, loss(t), rtol=1e-9, atol=1e-12)
  grads = got.grads["token_logps"]
  assert (grads[~t["token_mask"]] == 0).all()
  for index in [(0, 0, 0), (1, 0, 0), (1, 0, 5), (2, 1, 0)]:
    want = slope(loss, t, "token_logps", index)
    assert grads[index] == pytest.approx(want, abs=1e-8)
  kl = np.where(t["token_mask"], gaps, 0.0).sum(axis=-1)
  np.testing.assert_allclose(got.metrics["objective/kl"], kl, rtol=1e-9)


def test_distill_of_the_teacher_itself_moves_nothing():
  t = table()
  t["ref_token_logps"] = t["behaviour_token_logps"]
  got = evaluate("distill", lengths=t["token_mask"].sum(-1), **t)
  assert not got.values.any()
  assert not got.grads["token_logps"].any()


def test_gae_of_lambda_one_is_what_is_left_of_the_return():
  """At lambda = gamma = 1 an advantage is the return from there, less V."""
  t = table(k=1)
  got = evaluate("ppo(kl_coef=0, lam=1)", lengths=t["token_mask"].sum(-1), **t)
  left = np.where(
    t["token_mask"], t["rewards"][..., None] - t["token_values"], 0.0
  )
  want = left.sum(-1) / t["token_mask"].sum(-1)
  np.testing.assert_allclose(got.metrics["advantages"], want)
  np.testing.assert_allclose(got.metrics["values/residual"], want)


def grpo(
  t,
  *,
  clip=0.2,
  high=None,
  beta=0.04,
  old="ref_token_logps",
  kind="grpo",
  width=None,
  kl_by_token=True,
):
  mask, rewards = t["token_mask"], t["rewards"]
  out = np.zeros(len(mask))
  mean_length = mask.sum() / (mask.shape[0] * mask.shape[1])
  top = 1 + (clip if high is None else high)
  for b in range(len(mask)):
    deviation = rewards[b].std(ddof=1) + 1e-4
    for k in range(mask.shape[1]):
      a = (rewards[b, k] - rewards[b].mean()) / deviation
      n = mask[b, k].sum()
      each = {"grpo": n, "dr_grpo": width}.get(kind, mean_length)
      for i in range(n):
        logp = t["token_logps"][b, k, i]
        w = np.exp(logp - t[old][b, k, i])
        if kind == "cispo":
          weight = np.exp(t["_fixed"][b, k, i] - t[old][b, k, i])
          gain = min(weight, top) * a * logp
        else:
          gain = min(w * a, min(max(w, 1 - clip), top) * a)
        u = t["ref_token_logps"][b, k, i] - logp
        out[b] += -gain / each
        out[b] += beta * (np.exp(u) - u - 1) / n if kl_by_token else 0.0
  return out / mask.shape[1]


@pytest.mark.parametrize(
  ("spec", "options"),
  [
    ("grpo(ratio=token, kl=token)", {}),
    (
      "grpo(ratio=token, kl=token, behaviour=logged, clip=0.1, beta=0.5)",
      {"old": "behaviour_token_logps", "clip": 0.1, "beta": 0.5},
    ),
    (
      "grpo(ratio=token, behaviour=logged, loss_type=dapo, clip_high=0.28, "
      "beta=0)",
      {"old": "behaviour_token_logps", "high": 0.28, "beta": 0, "kind": "dapo"},
    ),
    (
      "grpo(ratio=token, behaviour=logged, loss_type=cispo, beta=0)",
      {"old": "behaviour_token_logps", "beta": 0, "kind": "cispo"},
    ),
    (
      "grpo(ratio=token, kl=token, loss_type=dr_grpo, max_completion_length=9)",
      {"kind": "dr_grpo", "width": 9},
    ),
  ],
)
def test_grpo_by_token_is_its_formulas(spec, options):
  t = table()
  got = evaluate(spec, lengths=t["token_mask"].sum(-1), **t)

  def loss(table):
    return grpo({**table, "_fixed": t["token_logps"]}, **options)

  np.testing.assert_allclose(got.values, loss(t), rtol=1e-9, atol=1e-12)
  grads = got.grads["token_logps"]
  assert (grads[~t["token_mask"]] == 0).all()
  for index in [(0, 0, 0), (1, 0, 0), (1, 0, 5), (3, 2, 0)]:
    want = slope(loss, t, "token_logps", index)
    assert grads[index] == pytest.approx(want, abs=1e-8)


def test_where_policy_and_behaviour_agree_both_ratios_have_one_gradient():
  t = table()
  t["token_logps"] = t["behaviour_token_logps"]
  sums = {
    f"{name}logps": np.where(t["token_mask"], t[f"{name}token_logps"], 0).sum(
      -1
    )
    for name in ("", "behaviour_")
  }
  columns = {**t, **sums, "lengths": t["token_mask"].sum(-1)}
  by_token = evaluate("grpo(beta=0, behaviour=logged, ratio=token)", **columns)
  whole = evaluate("grpo(beta=0, behaviour=logged)", **columns)
  np.testing.assert_allclose(
    by_token.grads["token_logps"],
    np.where(t["token_mask"], whole.grads["logps"][..., None], 0.0),
    atol=1e-12,
  )


@pytest.mark.parametrize(
  ("spec", "said"),
  [
    ("grpo(loss_type=dapo)", "give ratio=token too"),
    ("grpo(ratio=token, clip=None)", "give clip too"),
    ("grpo(ratio=token, loss_type=dr_grpo)", "max_completion_length goes with"),
    ("grpo(clip=None, clip_high=0.3)", "give clip too"),
    ("grpo(beta=0, kl=token)", "beta is above 0 alone"),
    ("ppo(lam=1.5)", "lam must be from 0 to 1"),
    ("ppo(cliprange=0)", "cliprange must be above 0"),
    ("ppo(cliprange_value=0)", "cliprange_value must be above 0"),
    ("ppo(kl_coef=-1)", "kl_coef must not be negative"),
  ],
)
def test_what_would_do_nothing_is_refused(spec, said):
  with pytest.raises(UserError, match=said):
    losses.get(spec)


@pytest.mark.parametrize("spec", ["weighted_dpo(beta=0.3)", "weighted_dro_v"])
def test_weights_of_tokens_are_in_the_sum_of_log_ratios(spec):
  k = 2 if "dpo" in spec else 1
  t = {**table(k=k), "values": np.linspace(-1.0, 1.0, 4)[:, None]}

  def ratios(t):
    out = np.zeros(t["rewards"].shape)
    for b, k, i in np.argwhere(t["token_mask"]):
      ratio = t["token_logps"][b, k, i] - t["ref_token_logps"][b, k, i]
      out[b, k] += t["token_weights"][b, k, i] * ratio
    return out

  def loss(t):
    rho = ratios(t)
    if k == 2:
      return np.log1p(np.exp(-0.3 * (rho[:, 0] - rho[:, 1])))
    return 0.5 * (t["rewards"] - t["values"] - rho)[:, 0] ** 2

  got = evaluate(spec, **t)
  np.testing.assert_allclose(got.values, loss(t), rtol=1e-9)
  for index in [(0, 0, 0), (1, 0, 0), (1, 0, 5)]:
    # tau is 1: the policy's gradient is the loss's own.
    assert got.grads["token_logps"][index] == pytest.approx(
      slope(loss, t, "token_logps", index), abs=1e-8
    )


@pytest.mark.parametrize("name", ["dpo", "dro_v"])
def test_where_all_tokens_count_alike_it_is_the_loss_of_sequences(name):
  k = 2 if name == "dpo" else 1
  t = {**table(k=k), "values": np.linspace(-1.0, 1.0, 4)[:, None]}
  t["token_weights"] = np.ones(t["token_mask"].shape)
  t["ref_logps"] = np.where(t["token_mask"], t["ref_token_logps"], 0).sum(-1)
  whole, weighted = evaluate(name, **t), evaluate(f"weighted_{name}", **t)
  np.testing.assert_allclose(weighted.values, whole.values, rtol=1e-12)
  np.testing.assert_allclose(
    weighted.grads["token_logps"],
    np.where(t["token_mask"], whole.grads["logps"][..., None], 0.0),
    rtol=1e-9,
    atol=1e-14,
  )


@pytest.mark.parametrize(
  ("spec", "alpha", "held"),
  [("tdpo1(beta=0.3)", 1.0, 1), ("tdpo2(beta=0.3, alpha=0.7)", 0.7, 0)],
)
def test_tdpo_is_the_papers_formula(spec, alpha, held):
  """Equations 15 and 17 of arXiv:2404.11999; `held` is the slope of D_w."""
  t = table(k=2)
  t["logps"] = np.where(t["token_mask"], t["token_logps"], 0).sum(-1)
  t["ref_logps"] = np.where(t["token_mask"], t["ref_token_logps"], 0).sum(-1)
  want = np.zeros(4)
  grads = {name: np.zeros(t["token_kls"].shape) for name in ("logps", "kls")}
  for b in range(4):
    (chosen, rejected) = (
      t["token_kls"][b, k, : t["token_mask"][b, k].sum()].sum() for k in (0, 1)
    )
    rho = t["logps"][b] - t["ref_logps"][b]
    z = 0.3 * (rho[0] - rho[1]) - alpha * 0.3 * (rejected - chosen)
    want[b] = -np.log(1 / (1 + np.exp(-z)))
    push = 0.3 * (1 - 1 / (1 + np.exp(-z))) / 4
    grads["logps"][b] = np.array([-push, push])[:, None]
    grads["kls"][b] = alpha * np.array([-push * held, push])[:, None]
  got = evaluate(spec, **t)
  np.testing.assert_allclose(got.values, want, rtol=1e-12)
  np.testing.assert_allclose(got.grads["logps"], grads["logps"][..., 0])
  np.testing.assert_allclose(
    got.grads["token_kls"], np.where(t["token_mask"], grads["kls"], 0)
  )
  for k, name in enumerate(("kl/chosen", "kl/rejected")):
    divergence = np.where(t["token_mask"], t["token_kls"], 0).sum(-1)[:, k]
    np.testing.assert_allclose(got.metrics[name], divergence)
