"""DRO under the forward KL: our derivation, beside `dro_v`'s."""

from offalign.losses import stable
from offalign.losses.dro import regressed
from offalign.losses.registry import register
from offalign.types import Kind, LossOutput, Scores


@register(
  "dro_forward",
  kind=Kind.SINGLE,
  needs=("ref_logps", "rewards", "values"),
  scale="beta",
  positive=("beta",),
  paper="ours, after arXiv:2405.19107",
  when=(
    "A score on single completions, where the policy must stay able to write "
    "what the reference can: dro_v with the KL the other way round."
  ),
  formula=(
    r"\frac{1}{2}\left(r - V(x) - \beta(1 - "
    r"\frac{\pi_{\mathrm{ref}}}{\pi})\right)^2"
  ),
)
def dro_forward(scores: Scores, *, beta: float = 1.0) -> LossOutput:
  """1/2 delta^2, delta = r - V(x) - beta (1 - pi_ref / pi).

  The derivation is ours (compare arXiv:2605.09214 on the objective).
  E_pi r - beta KL(pi_ref || pi) is greatest where, with a multiplier lambda(x)
  for the sum of the probabilities,

    r(x, y) + beta pi_ref / pi = lambda(x),  pi* = beta pi_ref / (lambda - r),

  and lambda is the one above every r for which pi* sums to 1. The square of
  what is missing, over any data that have what the reference has, is 0 there
  and nowhere else. V(x) = lambda(x) - beta is learned with the policy. Near
  pi_ref, beta (1 - pi_ref / pi) is beta rho, and this is `dro_v`; far from it,
  a completion that becomes impossible costs without bound.

  The value's gradient is -delta. The policy's is -delta grad log pi, the
  loss's own divided by beta pi_ref / pi > 0, which moves no zero of the loss.
  (The square of pi / pi_ref (lambda - r) - beta is 0 at the same place; but
  where lambda is below r it lowers the better completion, and its gradient
  fades as pi does.) pi_ref / pi goes over into its tangent where it is huge
  (`losses.stable`).

  Args:
    scores: needs `ref_logps`, `rewards` and `values`; any K, each completion
      on its own.
    beta: > 0, weight of the forward KL; in units of the reward.

  Returns:
    [B] losses (means over K), and the metrics `values/mean` (V) and
    `values/residual` (delta).
  """
  pull = -stable.expm1(-scores.log_ratios, power=2.0)
  delta = scores.rewards - scores.values - beta * pull
  return regressed(scores, delta)
