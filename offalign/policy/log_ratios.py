"""Mean log-ratios of logged completions to the reference, from metrics."""

from collections.abc import Mapping

from offalign.losses import Loss
from offalign.policy.folder import PREFIX


def nats(
  loss: Loss, held: Mapping[str, float], *, judged: bool
) -> dict[str, float]:
  """Mean log-ratios of logged completions to the reference, in nats.

  Args:
    loss: its implicit reward is `scale` times the log-ratio.
    held: held-out metrics.
    judged: whether there are held-out pairs, whose rewards are log-ratios to
      the start for losses without a reference too.

  Returns:
    "chosen" and "rejected", or "all"; {} where the implicit reward is no sum
    of log-ratios.
  """
  reads = "ref_logps" in loss.needs
  if loss.average or not loss.scale or not (reads or judged):
    return {}
  names = {"chosen": "rewards/chosen", "rejected": "rewards/rejected"}
  if PREFIX + names["chosen"] not in held:
    names = {"all": "rewards/mean"} if reads else {}
  return {
    who: held[PREFIX + name] / loss.scale
    for who, name in names.items()
    if PREFIX + name in held
  }
