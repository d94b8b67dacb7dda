"""Mean log-ratios of logged completions to the reference, from metrics."""

from collections.abc import Mapping

from offalign.losses import Loss
from offalign.policy.folder import PREFIX

NATS = (
  "Nats: the mean over held-out logged completions of log pi(y|x) - "
  "log ref(y|x), where ref is what the run started from. It is a log-ratio on "
  "logged texts, as metrics.jsonl has it, and not KL(pi || ref), which is a "
  "mean over completions that the policy itself writes."
)
"""What `nats` gives, for readers of a page."""


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
  if loss.average or not loss.scale or not (loss.has_reference or judged):
    return {}
  names = {"chosen": "rewards/chosen", "rejected": "rewards/rejected"}
  if PREFIX + names["chosen"] not in held:
    names = {"all": "rewards/mean"} if loss.has_reference else {}
  return {
    who: held[PREFIX + name] / loss.scale
    for who, name in names.items()
    if PREFIX + name in held
  }
