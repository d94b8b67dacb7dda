"""The cases of golden/*.json as calls of `offalign.testing.evaluate`."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

GOLDEN = pathlib.Path(__file__).parents[1] / "losses" / "golden"

Json = dict

SIDES = ("chosen", "rejected")


@dataclasses.dataclass(frozen=True)
class Case:
  """A loss on given columns, and what it must give.

  Attributes:
    id: file, variant and name of the case.
    spec: the loss.
    columns: keyword arguments of `evaluate`.
    loss: the batch mean.
    grads: its gradients.
    losses: [B], or None where the peer returns the mean alone.
    metrics: name -> [B] or [B, K].
    grad_rtol: how exact the gradients are.
  """

  id: str
  spec: str
  columns: dict[str, np.ndarray]
  loss: float
  grads: dict[str, np.ndarray]
  losses: np.ndarray | None
  metrics: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  grad_rtol: float = 1e-9


def read(file: str) -> list[Json]:
  return json.loads((GOLDEN / f"{file}.json").read_text())["cases"]


def columns(inputs: Json, *names: str) -> np.ndarray:
  """[B, K] from one input [B] per completion."""
  return np.stack([np.asarray(inputs[n], np.float64) for n in names], axis=1)


def sums(inputs: Json, name: str, like: str) -> np.ndarray:
  """[B] sums of an input of tokens [B, T]; empty where it has no rows."""
  tokens = np.asarray(inputs.get(name, []), np.float64)
  mask = np.asarray(inputs.get(like, []), np.float64)
  return (tokens * mask).sum(-1) if tokens.size else np.zeros(0)


def sides(inputs: Json, name: str) -> list[np.ndarray]:
  """Sums of chosen and of rejected tokens; `name` has {} for the side."""
  return [sums(inputs, name.format(s), f"{s}_mask") for s in SIDES]


def pair(spec: str) -> Callable[[Json], Json]:
  """Chosen and rejected sums under policy and reference."""

  def build(case: Json) -> Json:
    i, e, p = case["inputs"], case["expected"], case["params"]
    out = {
      "spec": spec.format(**p),
      "columns": {
        "logps": columns(i, "policy_chosen_logps", "policy_rejected_logps"),
      },
      "grads": {},
    }
    if "ref_chosen_logps" in i:
      out["columns"]["ref_logps"] = columns(
        i, "ref_chosen_logps", "ref_rejected_logps"
      )
    if "chosen_lengths" in i:
      out["columns"]["lengths"] = columns(
        i, "chosen_lengths", "rejected_lengths"
      )
    if "avg_chosen_logps" in e["grad"]:  # d mean = d sum * length
      out["grads"]["logps"] = (
        columns(e["grad"], "avg_chosen_logps", "avg_rejected_logps")
        / out["columns"]["lengths"]
      )
    else:
      out["grads"]["logps"] = columns(
        e["grad"], "policy_chosen_logps", "policy_rejected_logps"
      )
    # TRL's `ipo` logs beta times the sum, ours the mean that it trains on.
    # Those of sorted losses are tied to no row.
    if "aot" in spec:
      out["losses"] = None
    if "chosen_rewards" in e and not spec.startswith(
      ("ipo(tau={beta}, l", "dpo_norm")
    ):
      out["metrics"] = {
        f"rewards/{side}": np.asarray(e[f"{side}_rewards"])
        for side in ("chosen", "rejected")
      }
    return out

  return build


def tokens_pair(spec: str) -> Callable[[Json], Json]:
  """Chosen and rejected token log-probs under policy and reference."""

  def build(case: Json) -> Json:
    i, e = case["inputs"], case["expected"]
    lengths = np.stack(sides(i, "{}_mask"), axis=1)
    grads = [
      np.sum(e["grad"][f"policy_{s}_token_logps"], axis=-1) for s in SIDES
    ]
    return {
      "spec": spec.format(**case["params"]),
      "columns": {
        "logps": np.stack(sides(i, "policy_{}_token_logps"), axis=1),
        "ref_logps": np.stack(sides(i, "ref_{}_token_logps"), axis=1),
        "lengths": lengths,
      },
      # Every token of a sum has the sum's gradient.
      "grads": {"logps": np.stack(grads, axis=1) / lengths},
    }

  return build


def dro_v(case: Json) -> Json:
  i, e = case["inputs"], case["expected"]
  return {
    "spec": f"dro_v(tau={case['params']['tau']})",
    "columns": {
      "logps": columns(i, "policy_logps"),
      "ref_logps": columns(i, "ref_logps"),
      "rewards": columns(i, "rewards"),
      "values": np.asarray(i["values"]),
    },
    "grads": {
      "logps": columns(e, "grad_policy_rescaled_eq8"),
      "values": np.asarray(e["grad"]["values"]),
    },
    "metrics": {"values/residual": columns(e, "delta")},
  }


_KTO = (
  "kto(beta={beta}, desirable_weight={desirable_weight}, "
  "undesirable_weight={undesirable_weight})"
)


def kto_trl(case: Json) -> Json:
  i, e = case["inputs"], case["expected"]
  kl = np.mean(np.subtract(i["policy_KL_logps"], i["ref_KL_logps"]))
  labels = np.asarray(i["labels"], bool)
  rewards = np.asarray(e["rewards"])
  return {
    "spec": _KTO.format(**case["params"]),
    "columns": {
      "logps": columns(i, "policy_logps"),
      "ref_logps": columns(i, "ref_logps"),
      "labels": labels[:, None],
      "kl": kl,
    },
    "grads": {"logps": columns(e["grad"], "policy_logps")},
    "metrics": {
      "kl": np.full(len(labels), e["kl"]),
      "rewards/chosen": np.where(labels, rewards, np.nan)[:, None],
      "rewards/rejected": np.where(labels, np.nan, rewards)[:, None],
    },
  }


def kto_halos(case: Json) -> Json:
  i, e = case["inputs"], case["expected"]
  lengths = np.concatenate(sides(i, "{}_mask"))
  grads = [
    np.sum(e["grad"].get(f"policy_{s}_token_logps") or np.zeros((0, 1)), -1)
    for s in SIDES
  ]
  kl = sums(i, "policy_KL_token_logps", "KL_mask") - sums(
    i, "ref_KL_token_logps", "KL_mask"
  )
  return {
    "spec": _KTO.format(**case["params"]),
    "columns": {
      "logps": np.concatenate(sides(i, "policy_{}_token_logps"))[:, None],
      "ref_logps": np.concatenate(sides(i, "ref_{}_token_logps"))[:, None],
      "labels": (np.arange(len(lengths)) < len(i.get("chosen_mask", [])))[
        :, None
      ],
      "kl": kl.mean(),
    },
    "grads": {"logps": (np.concatenate(grads) / lengths)[:, None]},
    "metrics": {"kl": np.full(len(lengths), e["kl"])},
  }


def rebel(case: Json) -> Json:
  i, e = case["inputs"], case["expected"]
  return {
    "spec": f"rebel(eta={case['params']['eta']})",
    "columns": {
      "logps": columns(i, "policy_logps_1", "policy_logps_2"),
      "ref_logps": columns(i, "ref_logps_1", "ref_logps_2"),
      "rewards": columns(i, "rewards_1", "rewards_2"),
    },
    "grads": {"logps": columns(e["grad"], "policy_logps_1", "policy_logps_2")},
  }


def sft(case: Json) -> Json:
  i, e = case["inputs"], case["expected"]
  lengths = sums(i, "chosen_mask", "chosen_mask")
  grads = np.sum(e["grad"]["policy_chosen_token_logps"], axis=-1) / lengths
  return {
    "spec": "sft",
    "columns": {
      "logps": sums(i, "policy_chosen_token_logps", "chosen_mask")[:, None],
      "lengths": lengths[:, None],
    },
    "grads": {"logps": grads[:, None]},
  }


def sft_on_chosen(case: Json) -> Json:
  """The same beside rejected completions, which nothing reads."""
  built = sft(case)

  def beside(column: np.ndarray, other: float) -> np.ndarray:
    return np.concatenate([column, np.full(column.shape, other)], axis=1)

  return {
    "spec": "sft(on=chosen)",
    "columns": {k: beside(v, 3.0) for k, v in built["columns"].items()},
    "grads": {"logps": beside(built["grads"]["logps"], 0.0)},
  }


def orpo(nll: bool) -> Callable[[Json], Json]:
  """The odds-ratio term, or with the mean NLL of chosen added."""

  def build(case: Json) -> Json:
    i, e = case["inputs"], case["expected"]["reference64"]
    logps = columns(i, "avg_chosen_logps", "avg_rejected_logps")
    grads = columns(e, "grad_avg_chosen_logps", "grad_avg_rejected_logps")
    losses = np.asarray(e["losses"])
    if nll:
      losses = losses - logps[:, 0]
      grads[:, 0] -= 1.0 / len(grads)
    weight = "" if nll else ", sft_weight=0"
    return {
      "spec": f"orpo(beta={case['params']['beta']}{weight})",
      "columns": {"logps": logps, "lengths": np.ones(logps.shape)},
      "grads": {"logps": grads},
      "losses": losses,
      "loss": losses.mean(),
      "metrics": {"log_odds_chosen": np.asarray(e["log_odds"])},
    }

  return build


def f_dpo(case: Json) -> Json:
  e, p = case["expected"], case["params"]
  name = {"forward_kl": "forward_kl", "js_divergence": "js"}.get(
    p["f_divergence_type"], "alpha"
  )
  power = (
    "" if name != "alpha" else f", alpha={1 - p['f_alpha_divergence_coef']}"
  )
  built = pair(f"f_dpo(beta={{beta}}, divergence={name}{power})")(case)
  if "reference64" in e:  # TRL computes these in float32
    built |= {
      "losses": np.asarray(e["reference64"]["losses"]),
      "loss": e["reference64"]["loss"],
      "grad_rtol": 2e-5,
    }
  return built


def slic_hf(case: Json) -> Json:
  """With the chosen completion as the regulariser's target."""
  i, e, p = case["inputs"], case["expected"], case["params"]
  logps = columns(i, "policy_chosen_logps", "policy_rejected_logps")
  weight = p["lambda_"]
  hinge = np.asarray(e["losses"]) + weight * np.asarray(i["target_logps"])
  losses = hinge - weight * logps[:, 0]
  grads = columns(e["grad"], "policy_chosen_logps", "policy_rejected_logps")
  grads[:, 0] += e["grad"]["target_logps"]
  return {
    "spec": f"slic_hf(delta={p['delta']}, sft_weight={weight})",
    "columns": {"logps": logps},
    "grads": {"logps": grads},
    "losses": losses,
    "loss": losses.mean(),
  }


def cpo(spec: str) -> Callable[[Json], Json]:
  """Log-probs as fed to TRL's `cpo_loss`: sums, or means of one token."""

  def build(case: Json) -> Json:
    i, e = case["inputs"], case["expected"]
    logps = columns(i, "chosen_logps", "rejected_logps")
    return {
      "spec": spec.format(**case["params"]),
      "columns": {"logps": logps, "lengths": np.ones(logps.shape)},
      "grads": {"logps": columns(e["grad"], "chosen_logps", "rejected_logps")},
    }

  return build


def cpo_from_logits(case: Json) -> Json:
  """The whole loss with its NLL, from logits of prompt and completion."""
  i, p = case["inputs"], case["params"]
  logits = np.asarray(i["logits"], np.float64)[:, :-1]
  labels = np.asarray(i["labels"])[:, 1:]
  log_p = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
  mask = labels != -100
  at = np.where(mask, labels, 0)[..., None]
  tokens = np.take_along_axis(log_p, at, axis=-1)[..., 0] * mask
  # d log p(y) / d logit of y is 1 - p(y), for every token of a sum alike.
  slopes = np.take_along_axis(
    np.asarray(case["expected"]["grad"]["logits"])[:, :-1], at, axis=-1
  )[..., 0] / -np.expm1(np.where(mask, tokens, -1.0))
  grads = (slopes * mask).sum(axis=1) / mask.sum(axis=1)
  return {
    "spec": f"cpo(beta={p['beta']}, sft_weight={p['cpo_alpha']})",
    "columns": {
      "logps": tokens.sum(axis=1).reshape(2, -1).T,
      "lengths": mask.sum(axis=1).reshape(2, -1).T,
    },
    "grads": {"logps": grads.reshape(2, -1).T},
  }


def apo_unpaired(case: Json) -> Json:
  built = kto_trl(case)
  del built["columns"]["kl"], built["metrics"]["kl"]
  built["spec"] = built["spec"].replace("kto", "apo_zero_unpaired")
  return built


def ld_dpo(case: Json) -> Json:
  """Sums of whole completions, and of as many tokens as the shorter has."""
  i, e, alpha = case["inputs"], case["expected"], case["params"]["ld_alpha"]
  masks = [np.asarray(i[f"{s}_mask"], np.float64) for s in SIDES]
  shortest = np.minimum(*(mask.sum(-1) for mask in masks))[:, None]
  shared = {
    f"{s}_shared": mask * (np.cumsum(mask, -1) <= shortest)
    for s, mask in zip(SIDES, masks, strict=True)
  }
  # The first token is in both sums.
  first = np.stack(
    [np.asarray(e["grad"][f"policy_{s}_token_logps"])[:, 0] for s in SIDES], 1
  )
  both = {**i, **shared}

  def total(who: str, kind: str) -> np.ndarray:
    return np.stack(
      [sums(both, f"{who}_{s}_token_logps", f"{s}_{kind}") for s in SIDES], 1
    )

  return {
    "spec": "ld_dpo(beta={beta}, alpha={ld_alpha})".format(**case["params"]),
    "columns": {
      "logps": total("policy", "mask"),
      "ref_logps": total("ref", "mask"),
      "prefix_logps": total("policy", "shared"),
      "ref_prefix_logps": total("ref", "shared"),
    },
    "grads": {"logps": alpha * first, "prefix_logps": (1 - alpha) * first},
  }


def wpo(case: Json) -> Json:
  built = tokens_pair("wpo(beta={beta})")(case)
  built["columns"]["log_collisions"] = np.stack(
    sides(case["inputs"], "{}_log_sum_sq_probs"), axis=1
  )
  return built


def mpo(case: Json) -> Json:
  """A weighted sum of three losses."""
  p = case["params"]
  names = {"sigmoid": "dpo", "bco_pair": "bco_pair", "sft": "sft"}
  terms = zip(p["loss_weights"], p["loss_type"], strict=True)
  beta = f"(beta={p['beta']})"
  return tokens_pair(
    " + ".join(f"{w}*{names[t]}{'' if t == 'sft' else beta}" for w, t in terms)
  )(case)


def reward_model(options: str) -> Callable[[Json], Json]:
  """Values of chosen and rejected, in place of log-probs."""

  def build(case: Json) -> Json:
    i, e = case["inputs"], case["expected"]
    values = columns(i, "chosen_rewards", "rejected_rewards")
    found = {"logps": np.zeros(values.shape), "values": values}
    if "margin" in i:
      found["margins"] = np.asarray(i["margin"])
    return {
      "spec": "bradley_terry" + options.format(**case["params"]),
      "columns": found,
      "grads": {
        "logps": np.zeros(values.shape),
        "values": columns(e["grad"], "chosen_rewards", "rejected_rewards"),
      },
      "metrics": {"rewards/chosen": values[:, 0]},
    }

  return build


def bco(case: Json) -> Json:
  """The second of two steps, with what the first left behind."""
  i, e = case["inputs"], case["expected"]
  beta = case["params"]["beta"]
  steps = []
  for step in range(2):
    both = [
      np.concatenate([i[f"{who}_{s}_logps"][step] for s in SIDES])
      for who in ("policy", "ref")
    ]
    labels = np.arange(len(both[0])) < len(i["policy_chosen_logps"][step])
    steps.append((*both, labels))
  state = {}
  for name, which in (("desirable", True), ("undesirable", False)):
    rewards = np.concatenate(
      [beta * (logps - ref)[labels == which] for logps, ref, labels in steps]
    )
    state |= {f"{name}_mean": rewards.mean(), f"{name}_n": float(len(rewards))}
  logps, ref, labels = steps[1]
  exact = e["reference64"]
  return {
    "spec": f"bco(beta={beta})",
    "columns": {
      "logps": logps[:, None],
      "ref_logps": ref[:, None],
      "labels": labels[:, None],
      "state": state,
    },
    "grads": {
      "logps": np.concatenate(
        [exact[f"grad_policy_{s}_logps"][1] for s in SIDES]
      )[:, None]
    },
    "losses": np.asarray(exact["losses"][1]),
    "loss": exact["loss"][1],
    "metrics": {"delta": np.full(len(labels), exact["delta"][1])},
  }


_SIMPO = "simpo(beta={beta}, gamma_beta_ratio={gamma_beta_ratio}, "

_PAIRS = {
  ("formula_gpo", "logistic"): "dpo(beta={beta})",
  ("formula_gpo", "hinge"): "slic(beta={beta})",
  ("formula_gpo", "squared"): "gpo_squared(beta={beta})",
  ("formula_gpo", "exponential"): "gpo_exponential(beta={beta})",
  ("formula_gpo", "truncated_quadratic"): (
    "gpo_truncated_quadratic(beta={beta})"
  ),
  ("formula_gpo", "savage"): "gpo_savage(beta={beta})",
  ("dpo_trl", "sigmoid"): "dpo(beta={beta})",
  ("dpo_trl", "hinge"): "slic(beta={beta})",
  ("dpo_trl", "ipo"): "ipo(tau={beta}, length_normalized=True)",
  ("dpo_trl", "exo_pair"): (
    "exo_pair(beta={beta}, label_smoothing={label_smoothing})"
  ),
  ("dpo_trl", "nca_pair"): "nca_pair(beta={beta})",
  ("dpo_trl", "robust"): (
    "robust_dpo(beta={beta}, label_smoothing={label_smoothing})"
  ),
  ("dpo_trl", "bco_pair"): "bco_pair(beta={beta})",
  ("dpo_trl", "sppo_hard"): "sppo_hard(beta={beta})",
  ("dpo_trl", "aot"): "aot(beta={beta}, label_smoothing={label_smoothing})",
  ("dpo_trl", "aot_unpaired"): (
    "aot_unpaired(beta={beta}, label_smoothing={label_smoothing})"
  ),
  ("dpo_trl", "apo_zero"): "apo_zero(beta={beta})",
  ("dpo_trl", "apo_down"): "apo_down(beta={beta})",
  ("dpo_trl", "discopop"): "discopop(beta={beta}, tau={discopop_tau})",
  ("dpo_trl", "sigmoid_norm"): "dpo_norm(beta={beta})",
  ("dpo_mitchell", "cdpo"): (
    "cdpo(beta={beta}, label_smoothing={label_smoothing})"
  ),
  ("dpo_mitchell", "sigmoid"): "dpo(beta={beta})",
  ("dpo_mitchell", "ipo"): "ipo(tau={beta})",
  ("simpo", "sigmoid"): _SIMPO + "label_smoothing={label_smoothing})",
  ("simpo", "hinge"): _SIMPO + "loss_type=hinge)",
}

BUILDERS: dict[tuple[str, str], list[Callable[[Json], Json]]] = {
  **{key: [pair(spec)] for key, spec in _PAIRS.items()},
  ("formula_dro_v", "dro_v"): [dro_v],
  ("formula_rebel", "rebel"): [rebel],
  ("paired_halos", "ipo"): [
    tokens_pair("ipo(tau={tau}, length_normalized=True)")
  ],
  ("paired_halos", "cdpo"): [
    tokens_pair("cdpo(beta={beta}, label_smoothing={epsilon})")
  ],
  ("dpo_trl_fdiv", "sigmoid"): [f_dpo],
  ("formula_slic_hf", "slic_hf"): [slic_hf],
  ("cpo_trl", "sigmoid"): [
    cpo("cpo(beta={beta}, sft_weight=0, label_smoothing={label_smoothing})")
  ],
  ("cpo_trl", "hinge"): [
    cpo("cpo(beta={beta}, sft_weight=0, loss_type=hinge)")
  ],
  ("cpo_trl", "simpo"): [
    cpo("alphapo(beta={beta}, alpha={alpha}, gamma={simpo_gamma})")
  ],
  ("refless_from_logits", "cpo_sigmoid"): [cpo_from_logits],
  ("kto_trl", "apo_zero_unpaired"): [apo_unpaired],
  ("kto_trl", "kto"): [kto_trl],
  ("kto_halos", "kto"): [kto_halos],
  ("dpo_trl_tokens", "sft"): [sft, sft_on_chosen],
  ("dpo_trl_tokens", "ld_dpo"): [ld_dpo],
  ("dpo_trl_tokens", "wpo"): [wpo],
  ("dpo_trl_tokens", "mpo"): [mpo],
  ("reward_bt", "trl"): [reward_model("")],
  ("reward_bt", "trl_margin"): [reward_model("(margin=1.0)")],
  ("reward_bt", "trl_centered"): [
    reward_model("(center={center_rewards_coefficient})")
  ],
  ("bco_trl", "bco"): [bco],
  ("orpo_trl", "orpo"): [orpo(nll=False), orpo(nll=True)],
}
"""(file, variant) -> what makes calls of its cases."""


def cases() -> Iterator[Case]:
  """Every case of every file, for each of its builders."""
  for (file, variant), builders in BUILDERS.items():
    for case in read(file):
      if case["variant"] != variant:
        continue
      for build in builders:
        built = build(case)
        e = case["expected"]
        built.setdefault("losses", e.get("losses"))
        built.setdefault("loss", e.get("loss"))
        name = built["spec"].partition("(")[0]
        yield Case(id=f"{name}-{file}-{case['name']}", **built)
