"""The forms of data that are accepted, told apart by their columns.

The names are those of TRL (prompt/completion/label, prompt/chosen/rejected,
conversations as lists of role and content, an implicit prompt, messages), with
`reward` for single trajectories and `completions`/`rewards` for groups; and
those of UltraFeedback, ShareGPT and Alpaca.
"""

import dataclasses

from offalign.data.reading import marks
from offalign.data.reading.logged_tokens import (
  IDS,
  LOGPROBS,
  PAIR_IDS,
  PAIR_LOGPROBS,
)
from offalign.errors import UserError, option, suggest

CHOSEN_REWARDS = (
  ("chosen_reward", "rejected_reward"),
  ("score_chosen", "score_rejected"),
  ("chosen_rating", "rejected_rating"),
  ("chosen-rating", "rejected-rating"),
)
"""The names that rewards of pairs have; where two are there, the first."""
_TOKENS = (IDS, LOGPROBS, *marks.SINGLE)
MARGIN = "margin"
"""TRL's column of pairs, which may be null where no margin is known."""


@dataclasses.dataclass(frozen=True)
class Form:
  """A kind of table.

  Attributes:
    name: what `load(form=...)` calls it.
    needed: columns that must be there.
    optional: columns that are read if they are there.
  """

  name: str
  needed: tuple[str, ...]
  optional: tuple[str, ...] = ()


FORMS = {
  form.name: form
  for form in (
    Form(
      "traj",
      ("prompt", "completion", "reward"),
      ("label", "behaviour_logps", *_TOKENS),
    ),
    Form("label", ("prompt", "completion", "label"), _TOKENS),
    Form(
      "pairs",
      ("chosen", "rejected"),
      (
        "prompt",
        *(name for both in CHOSEN_REWARDS for name in both),
        MARGIN,
        *PAIR_IDS,
        *PAIR_LOGPROBS,
        *marks.PAIR[0],
        *marks.PAIR[1],
      ),
    ),
    Form(
      "groups",
      ("prompt", "completions", "rewards"),
      ("behaviour_logps", *_TOKENS),
    ),
    Form("sft", ("prompt", "completion"), _TOKENS),
    Form("messages", ("messages",), ("reward", "label", *_TOKENS)),
    Form("ultrafeedback", ("instruction", "completions")),
    Form(
      "sharegpt",
      ("conversations",),
      ("system", "reward", "label", *_TOKENS),
    ),
    Form(
      "alpaca",
      ("instruction", "output"),
      ("input", "reward", "label", *_TOKENS),
    ),
    Form("steps", ("prompt", marks.STEPS), ("reward", "label")),
    Form("stepwise", ("prompt", "completions", "labels")),
  )
}


def detect(name: str, columns: tuple[str, ...], wanted: str | None) -> Form:
  """Returns the form of a file with these columns.

  Args:
    name: of the file; for messages.
    columns: what it has.
    wanted: the name of the form it must have, or None to find out.

  Raises:
    UserError: where the columns make no form, or more than one.
  """
  if wanted is not None:
    if wanted not in FORMS:
      raise UserError(
        f"there is no form {wanted!r}{suggest(wanted, FORMS)} (forms: "
        f"{', '.join(FORMS)})"
      )
    return _check(name, columns, FORMS[wanted])
  # TRL's stepwise rows look like groups with thumbs, so they must be named.
  known = [f for f in FORMS.values() if f.name != "stepwise"]
  fits = [f for f in known if set(f.needed) <= set(columns)]
  # A file with rewards or labels also has the columns of "sft".
  fits = [
    f
    for f in fits
    if not any(
      g is not f and set(f.needed) <= {*g.needed, *g.optional} for g in fits
    )
  ]
  # Data sets of other forms have such columns too, "messages" above all.
  for repeated in ("steps", "alpaca", "sharegpt", "messages"):
    if len(fits) > 1:
      fits = [f for f in fits if f.name != repeated]
  if not fits:
    raise UserError(_no_form(name, columns))
  if len(fits) > 1:
    forms = " and ".join(repr(f.name) for f in fits)
    raise UserError(
      f"{name} has the columns of the forms {forms}; say which to read, as "
      f"{option('form', repr(fits[0].name))}, or remove columns"
    )
  return _check(name, columns, fits[0])


def _check(name: str, columns: tuple[str, ...], form: Form) -> Form:
  """Refuses a missing column, or one of two rewards without the other."""
  missing = [c for c in form.needed if c not in columns]
  if missing:
    raise UserError(
      f"{name} has no column {missing[0]!r}, which form {form.name!r} needs "
      f"(its columns: {', '.join(columns)})"
    )
  pairs = form.name == "pairs"
  for both in (*CHOSEN_REWARDS, PAIR_IDS, PAIR_LOGPROBS) if pairs else ():
    present = [c for c in both if c in columns]
    if len(present) == 1:
      absent = next(c for c in both if c not in present)
      raise UserError(
        f"{name} has a column {present[0]!r} but no {absent!r}; pairs have "
        f"both {_noun(both)} or none"
      )
  return form


def _noun(both: tuple[str, str]) -> str:
  if both == PAIR_IDS:
    return "lists of token ids"
  return "lists of log-probs" if both == PAIR_LOGPROBS else "rewards"


def _no_form(name: str, columns: tuple[str, ...]) -> str:
  def nearness(form: Form) -> tuple[int, int]:
    present = sum(c in columns for c in form.needed)
    return present, present - len(form.needed)

  nearest = max(FORMS.values(), key=nearness)
  accepted = "; ".join(
    ("[prompt,] " if "prompt" in f.optional else "") + ", ".join(f.needed)
    for f in FORMS.values()
  )
  message = f"{name} has the columns {', '.join(columns) or '(none)'}, "
  if nearness(nearest)[0]:
    missing = [c for c in nearest.needed if c not in columns]
    message += (
      f"without {' and '.join(repr(c) for c in missing)}, so its form is not "
      "known"
    )
  else:
    message += "which make no form that is known"
  message += f" (accepted: {accepted})"
  if set(FORMS["stepwise"].needed) <= set(columns):
    steps = option("form", repr("stepwise"))
    message += f"; if completions are the steps of one reply, give {steps}"
  return message
