"""The losses that the contract tests run over."""

from offalign import losses

VARIANTS = [
  "alphapo(alpha=-0.5)",
  "aot(label_smoothing=0.2)",
  "bco(shift=balanced)",
  "bradley_terry(margin=0.5, center=0.01)",
  "cpo(sft_weight=0.0)",
  "cpo(loss_type=hinge)",
  "discopop(tau=1.0)",
  "dro_v(tau=0.3)",
  "f_dpo(divergence=alpha, alpha=0.5)",
  "f_dpo(divergence=forward_kl)",
  "gpo_exponential(beta=2.0)",
  "grpo(beta=0.0, scale_rewards=False)",
  "grpo(clip=None)",
  "ipo(length_normalized=True)",
  "kto(threshold=batch)",
  "kto(threshold=prompt)",
  "kto(desirable_weight=1.33, undesirable_weight=0.75)",
  "orpo(sft_weight=0.0)",
  "rebel(eta=4.0)",
  "rloo(beta=0.0, clip=0.2, behaviour=logged)",
  "rloo(clip=0.2)",
  "rpo(tau=2.0, per_token=False)",
  "a_star_po(tau=0.3, value_tau=0.5)",
  "dpo + 0.2*sft(on=chosen)",
  "dro_forward(beta=0.3)",
  "dro_group(baseline=reward)",
  "0.5*bco + una(feedback=binary)",
  "sft(on=chosen)",
  "sft(on=desirable)",
  "simpo(label_smoothing=0.1)",
  "simpo(loss_type=hinge)",
  "una(feedback=binary)",
  "wpo(clamp=1.0)",
]
"""Options that change what a loss needs or computes."""


def specs() -> list[str]:
  """Every registered name with its defaults, then the variants."""
  return [*losses.names(), *VARIANTS]
