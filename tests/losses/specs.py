"""The losses that the contract tests run over."""

from offalign import losses

VARIANTS = [
  "dro_v(tau=0.3)",
  "gpo_exponential(beta=2.0)",
  "ipo(length_normalized=True)",
  "kto(threshold=batch)",
  "kto(threshold=prompt)",
  "kto(desirable_weight=1.33, undesirable_weight=0.75)",
  "orpo(sft_weight=0.0)",
  "rebel(eta=4.0)",
  "sft(on=desirable)",
  "simpo(label_smoothing=0.1)",
  "simpo(loss_type=hinge)",
]
"""Options that change what a loss needs or computes."""


def specs() -> list[str]:
  """Every registered name with its defaults, then the variants."""
  return [*losses.names(), *VARIANTS]
