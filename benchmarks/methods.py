"""What stands on the boards: losses with the options that suit each track.

A registered loss that is not listed here stands on every board all the same,
with its defaults and the view of the feedback that its kind asks for.
"""

import dataclasses
import re

from offalign import losses
from offalign.errors import UserError
from offalign.learner.value import ValueConfig


@dataclasses.dataclass(frozen=True)
class Method:
  """One line of a board.

  Attributes:
    loss: the loss spec.
    label: its name on the board; "" = the spec.
    learning_rate: of the `ops` track.
    value_learning_rate: of the value there; None = `learning_rate`.
    labels: how feedback becomes labels or preferences where the loss takes
      them: "batch" or "prompt" threshold for single completions, "bt" or
      "det" for pairs; on the `theory` track also "centred" rewards, less
      E_mu r, and groups of "reference" samples; "" = the track's default.
    value: a value function other than the default.
  """

  loss: str
  label: str = ""
  learning_rate: float = 3e-4
  value_learning_rate: float | None = None
  labels: str = ""
  value: ValueConfig | None = None

  @property
  def name(self) -> str:
    """The label, or the canonical spec."""
    return self.label or str(losses.get(self.loss))


ONE_V = ValueConfig(per="batch")
SHARED = ValueConfig(network="shared")
ENCODER = ValueConfig(network="encoder")

THEORY = (
  Method("dro_v"),
  Method("dro_v", "dro_v, one V", value=ONE_V),
  Method("una(beta=1)", "V = 0: una(beta=1)"),
  Method("una(beta=1)", "V = E_mu r: una(beta=1)", labels="centred"),
  Method("dro_group"),
  Method("rloo(beta=1)"),
  Method("rpo(tau=1)"),
  Method("a_star_po", labels="reference"),
  Method("dro_forward"),
  Method("rebel"),
  Method("dpo(beta=1)"),
  Method("dpo(beta=1)", "dpo(beta=1), sure labels", labels="det"),
  Method("gpo_savage(beta=1)"),
  Method("gpo_exponential(beta=0.5)"),
  Method("gpo_squared(beta=1)"),
  Method("gpo_truncated_quadratic(beta=1)"),
  Method("slic(beta=1)"),
  Method("ipo(tau=0.5)"),
  Method("kto(beta=1)", "kto(beta=1), batch threshold", labels="batch"),
  Method("kto(beta=1)", "kto(beta=1), prompt threshold", labels="prompt"),
  Method("sft(on=desirable)", labels="batch"),
)
"""At tau = beta = 1, where closed forms are compared. `una` is DRO-V without
a value of its own; `dro_forward` ends at the optimum of another objective, the
forward KL's, and its regret here is to that of all the others."""

OPS = (
  Method("dro_v(tau=0.1)"),
  Method("rebel(eta=10)"),
  Method("dpo(beta=1)"),
  Method("ipo"),
  Method("slic(beta=0.3)"),
  Method("gpo_exponential(beta=0.3)"),
  Method("gpo_squared(beta=0.2)"),
  Method("gpo_truncated_quadratic(beta=0.3)"),
  Method("gpo_savage(beta=0.3)"),
  Method("simpo(beta=1,gamma_beta_ratio=0.5)", learning_rate=1e-4),
  Method("orpo(beta=5)"),
  Method("kto(beta=3,threshold=batch)"),
  Method("kto(beta=1,threshold=prompt)"),
  Method("sft(on=desirable)"),
  Method("dro_v"),
  Method("dro_v(tau=0.1)", "dro_v(tau=0.1), one V", value=ONE_V),
  Method("dro_v(tau=0.1)", "dro_v(tau=0.1), shared network", value=SHARED),
)
"""Chosen by hand, from a few runs on validation prompts that were not recorded;
then DRO-V as the paper has it (tau = 1), and with other value functions. What
rests on recorded draws, the same number for each, is --tune."""

OPS_T5 = (
  *OPS,
  Method("dro_v(tau=0.1)", "dro_v(tau=0.1), encoder's V", value=ENCODER),
)
"""With what only an encoder-decoder can run."""

QUICK = (
  "dro_v(tau=0.1)",
  "kto(beta=3,threshold=batch)",
  "dpo(beta=1)",
  "rebel(eta=10)",
  "sft(on=desirable)",
)
"""Two single-trajectory methods, two on pairs, and the supervised control."""

QUICK_THEORY = (
  "dro_v",
  "dro_v, one V",
  "rebel",
  "dpo(beta=1)",
  "kto(beta=1), batch threshold",
)
"""What is exact with a single trajectory, what with pairs, and what is not."""


def choose(
  listed: tuple[Method, ...], wanted: str, default: tuple[str, ...] = ()
) -> list[Method]:
  """Picks methods from a board by a comma-separated list.

  Args:
    listed: the track's methods.
    wanted: labels, specs or loss names, separated by commas outside of
      parentheses; "all" is the whole list and every other registered loss;
      "" is `default`, or all.
    default: specs.

  Raises:
    UserError: for what is neither on the board nor a loss.
  """
  rest = [
    Method(name)
    for name in losses.names()
    if name not in {losses.get(m.loss).name for m in listed}
    and why_not(name) is None
  ]
  if wanted in ("", "all"):
    if not wanted and default:
      return [m for spec in default for m in _match(listed, spec)]
    return [*listed, *rest]
  chosen = [m for s in _split(listed, wanted) for m in _match(listed, s)]
  names = [m.name for m in chosen]
  twice = sorted({n for n in names if names.count(n) > 1})
  if twice:
    raise UserError(f"--methods names {twice[0]!r} twice")
  return chosen


def needs_encoder(value: ValueConfig | None) -> bool:
  """Whether a value function is of encoder-decoders alone."""
  return value is not None and value.network == "encoder"


def remarks(chosen: list[Method]) -> list[str]:
  """What a reader of the whole `ops` board has to know of its lines.

  Args:
    chosen: the board; one that does not hold all of `OPS` needs no more than
      `related` says.
  """
  out = related(chosen)
  if not set(OPS) <= set(chosen):
    return out
  untuned = [m.name for m in chosen if m not in OPS_T5]
  by_hand = [m.name for m in chosen if m in OPS_T5]
  if untuned:
    out.append(
      "the settings of these were chosen by hand, from a few runs on "
      "validation prompts that were not recorded: "
      f"{', '.join(by_hand)}. Of the others, places speak of "
      "defaults made for large models and not of the losses: "
      f"{', '.join(untuned)}, at the shared learning rate of "
      f"{Method.learning_rate:g}. --tune gives every line the same number of "
      "recorded draws."
    )
  for name in losses.names():
    why = why_not(name)
    if why is not None:
      out.append(f"{name} is not on the board: {why}.")
  out.append(
    "sums of losses, such as 'dpo(beta=1) + 0.2*sft', are not on the board "
    "unless --methods names them: there is no end of them."
  )
  return out


def why_not(name: str) -> str | None:
  """Why a loss cannot stand on a board of policies; None where it can."""
  loss = losses.get(name)
  if loss.trains_rewards:
    return "it trains a reward model, and there is no policy of it to judge"
  by_token = {"token_weights", "token_rewards"} & set(loss.needs)
  if by_token:
    return "it takes feedback on single tokens, which the log does not have"
  if loss.name == "distill":
    return "its reference is a teacher, which no track has"
  return None


def related(chosen: list[Method]) -> list[str]:
  """Which lines of a board are one loss, or the control of another."""
  named = {losses.get(m.loss).name for m in chosen}
  out = []
  if {"rloo", "dro_group"} <= named:
    out.append(
      "rloo without clip and dro_group are one loss, up to a factor of "
      "K / (K - 1) in the gradient: what parts their lines is beta and tau."
    )
  if "una" in named and named & {"dro_v", "dro_group"}:
    out.append(
      "una on scores is DRO-V with V = 0 (tau = beta): the control for what a "
      "value is worth. dro_group(baseline=reward) is the one with V = E r."
    )
  return out


def _split(listed: tuple[Method, ...], wanted: str) -> list[str]:
  """Splits at commas, except in parentheses and in labels of the board."""
  pieces = [s.strip() for s in re.split(r",(?![^(]*\))", wanted) if s.strip()]
  labels = {m.label for m in listed}
  specs: list[str] = []
  for piece in pieces:
    if specs and f"{specs[-1]}, {piece}" in labels:
      specs[-1] += f", {piece}"
    else:
      specs.append(piece)
  return specs


def _match(listed: tuple[Method, ...], wanted: str) -> list[Method]:
  """By label; by bare name, all of that loss; else the spec as given."""
  exact = [m for m in listed if wanted in (m.label or m.loss, m.name)]
  if exact:
    return exact
  loss = losses.get(wanted)
  if wanted == loss.name:
    named = [m for m in listed if losses.get(m.loss).name == loss.name]
    return named or [Method(wanted)]
  same = [m for m in listed if losses.get(m.loss) == loss]
  return same or [Method(wanted)]
