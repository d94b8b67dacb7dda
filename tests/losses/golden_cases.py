"""The cases of golden/*.json as calls of `offalign.testing.evaluate`."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

GOLDEN = pathlib.Path(__file__).parent / "golden"

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
  """

  id: str
  spec: str
  columns: dict[str, np.ndarray]
  loss: float
  grads: dict[str, np.ndarray]
  losses: np.ndarray | None
  metrics: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


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
    if "chosen_rewards" in e and "length_normalized" not in spec:
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
    grads = [e["grad"][f"policy_{s}_token_logps"] for s in SIDES]
    return {
      "spec": spec.format(**case["params"]),
      "columns": {
        "logps": np.stack(sides(i, "policy_{}_token_logps"), axis=1),
        "ref_logps": np.stack(sides(i, "ref_{}_token_logps"), axis=1),
        "lengths": lengths,
      },
      # Every token of a sum has the sum's gradient.
      "grads": {"logps": np.sum(grads, axis=-1).T / lengths},
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
  ("kto_trl", "kto"): [kto_trl],
  ("kto_halos", "kto"): [kto_halos],
  ("dpo_trl_tokens", "sft"): [sft],
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
