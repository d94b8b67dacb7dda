"""The forms of data that are accepted, told apart by their columns.

The names are those of TRL (prompt/completion/label, prompt/chosen/rejected,
conversations as lists of role and content, an implicit prompt, messages), with
`reward` for single trajectories and `completions`/`rewards` for groups; and
those of UltraFeedback, ShareGPT and Alpaca.

Above 300 lines, since a form and the parser of its rows are read together.
"""

import dataclasses
from typing import Any

from offalign.data.reading import (
  logged_tokens,
  mark_cells,
  marks,
  message_parts,
  parsing,
  rated_turns,
)
from offalign.data.reading.aspects import Aspects
from offalign.data.reading.faults import describe
from offalign.data.reading.logged_tokens import (
  IDS,
  LOGPROBS,
  PAIR_IDS,
  PAIR_LOGPROBS,
)
from offalign.data.reading.marks import Marks
from offalign.data.reading.parsing import Fault
from offalign.data.reading.records import Message, Problem, Prompt, Record
from offalign.data.reading.token_text import TokenText
from offalign.errors import Sentence, UserError, option, suggest

_CHOSEN_REWARDS = (
  ("chosen_reward", "rejected_reward"),
  ("score_chosen", "score_rejected"),
  ("chosen_rating", "rejected_rating"),
  ("chosen-rating", "rejected-rating"),
)
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
        *(name for both in _CHOSEN_REWARDS for name in both),
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
  for both in (*_CHOSEN_REWARDS, PAIR_IDS, PAIR_LOGPROBS) if pairs else ():
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


class RowParser:
  """Turns the rows of one file into records.

  Attributes:
    form: the form of the file.
    used: the columns that are read.
    set_aside: rows whose prompt column was not used, because chosen and
      rejected hold the whole conversation.
    metadata: keys of messages that are not read.
    tools: whether tools of a conversation were read.
    turn_key: the key of messages that rates turns of the assistant, in place
      of a column that rates the last; None = there is none.
  """

  def __init__(
    self,
    name: str,
    form: Form,
    columns: tuple[str, ...],
    *,
    int_labels: bool = False,
    aspects: Aspects | None = None,
  ):
    """Takes what rows have, and how they are read.

    Args:
      name: of the file.
      form: of the file.
      columns: what it has.
      int_labels: whether the numbers 0 and 1 are taken for labels.
      aspects: how rewards of several aspects add up; None = they are numbers.
    """
    self.form = form
    self.used = tuple(
      c for c in columns if c in form.needed or c in form.optional
    )
    self.set_aside = 0
    self.metadata: dict[str, None] = {}
    self.tools = False
    self.turn_key: rated_turns.Key | None = None
    self._name = name
    self._int_labels = int_labels
    self._aspects = aspects
    self._reward_columns = next(
      (both for both in _CHOSEN_REWARDS if both[0] in self.used), None
    )
    if form.name == "pairs":
      # Where both pairs of names are there, the first is read.
      unread = {c for both in _CHOSEN_REWARDS for c in both}
      unread -= set(self._reward_columns or ())
      self.used = tuple(c for c in self.used if c not in unread)

  @property
  def has_both_rewards(self) -> bool:
    """Whether pairs have a reward of each side."""
    return self._reward_columns is not None

  def parse(self, number: int, row: dict[str, Any]) -> Record | list[Problem]:
    """Returns the record of a row, or everything that is wrong with it."""
    cells = _Cells(row)
    source = f"{self._name}:{number}"
    parsers = {"pairs": self._pair, "groups": self._group}
    parsers["ultrafeedback"] = self._ultrafeedback
    record = parsers.get(self.form.name, self._single)(cells, source)
    for column in self.used:
      if column in marks.COLUMNS or column == marks.STEPS:
        continue
      keys = dict.fromkeys(parsing.metadata(row.get(column)))
      if self.turn_key is not None:
        keys.pop(self.turn_key, None)
      self.metadata.update(keys)
    if not parsing.is_empty(row.get("tools")):
      record = self._with_tools(record, cells)
    if cells.faults:
      return [
        Problem(self._name, number, column, Sentence(what))
        for column, what in cells.faults.items()
      ]
    return record

  def _with_tools(self, record: Record, cells: "_Cells") -> Record:
    """The record with the row's tools before its conversation."""
    if not isinstance(record.prompt, tuple):
      return record  # a column of plain text's, which is listed as not read
    self.tools = True
    tools = cells.read("tools", message_parts.tools)
    if tools is None:
      return record
    return dataclasses.replace(
      record,
      prompt=(tools, *record.prompt),
      turns=tuple((i + 1, value) for i, value in record.turns),
    )

  def is_unrated(self, row: dict[str, Any]) -> bool:
    """Whether turns are rated in their messages, and none of this row's is."""
    if self.turn_key is None:
      return False
    return not rated_turns.is_rated(row.get("messages"), self.turn_key)

  def _turns(self, cells: "_Cells", source: str) -> Record:
    """A conversation whose turns are rated in their messages."""
    key = self.turn_key
    read = cells.read("messages", rated_turns.read, key, self._int_labels)
    messages, rated = read or ((Message("user", ""),) * 2, ((1, 0.0),))
    value: Any = (rated[-1][1],)
    return Record(
      messages[:-1],
      (messages[-1].content,),
      value if key == "reward" else None,
      value if key == "label" else None,
      False,
      source,
      turns=rated[:-1],
    )

  def _check_turns(self, cells: "_Cells") -> None:
    """Refuses ratings of turns that the first rows did not lead to expect."""
    if {"reward", "label"} & set(self.used):
      return  # which are listed as not read
    key = rated_turns.key_of([cells.row.get("messages")])
    if key is not None:
      cells.faults["messages"] = (
        f"a message has a {key!r}, and none in the first rows of the file has; "
        "move a rated row to the beginning, or remove the key"
      )

  def _single(self, cells: "_Cells", source: str) -> Record:
    known: Marks | None = None
    if self.turn_key is not None:
      return self._turns(cells, source)
    if self.form.name in ("steps", "stepwise"):
      prompt = cells.read("prompt", parsing.prompt)
      completion, known = self._steps(cells)
    elif self.form.name == "messages":
      self._check_turns(cells)
      whole = cells.read("messages", parsing.dialogue)
      prompt, completion = whole or ("", "")
    elif self.form.name == "sharegpt":
      system = cells.row.get("system")
      whole = cells.read("conversations", parsing.sharegpt, system)
      prompt, completion = whole or ("", "")
    elif self.form.name == "alpaca":
      prompt = cells.read("instruction", parsing.text)
      if not parsing.is_blank(cells.row.get("input")):
        more = cells.read("input", parsing.text)
        prompt = f"{prompt}\n\n{more}"
      completion = cells.read("output", parsing.text)
    else:
      prompt = cells.read("prompt", parsing.prompt)
      completion = cells.read("completion", parsing.reply, prompt)
    label = logged = None
    rewards = self._rewards(cells, ("reward",))
    if "label" in self.used:
      label = cells.read("label", parsing.label, self._int_labels)
    if "behaviour_logps" in self.used:
      logged = cells.read("behaviour_logps", parsing.number)
    if IDS in self.used and completion is not None:
      completion = self._with_tokens(cells, completion, IDS, LOGPROBS)
      logged = self._logged(cells, completion, logged)
    if completion is not None:
      known = known or self._marks(cells, completion, marks.SINGLE)
    return Record(
      prompt,
      (completion,),
      rewards if self._aspects is None else None,
      None if label is None else (label,),
      False,
      source,
      None if logged is None else (logged,),
      aspects=rewards if self._aspects is not None else None,
      marks=None if known is None else (known,),
    )

  def _steps(self, cells: "_Cells") -> tuple[str, Marks | None]:
    """A completion that is given as steps, and the spans of these."""
    if self.form.name == "steps":
      read = cells.read(marks.STEPS, mark_cells.steps, self._int_labels)
    else:
      labels = cells.row.get("labels")
      stepwise = mark_cells.stepwise
      read = cells.read("completions", stepwise, labels, self._int_labels)
    return read or ("", None)

  def _marks(
    self, cells: "_Cells", text: str, columns: tuple[str, ...]
  ) -> Marks | None:
    """What is known of a completion's parts; None without such columns.

    Args:
      cells: of the row.
      text: the completion.
      columns: those of spans, of weights and of rewards by token.
    """
    there = [column for column in columns if column in self.used]
    if not there:
      return None
    spans_of, weights_of, rewards_of = columns
    found: tuple[marks.Span, ...] = ()
    if spans_of in there and not parsing.is_empty(cells.row.get(spans_of)):
      parse = mark_cells.spans
      found = cells.read(spans_of, parse, text, self._int_labels) or ()
    lists = {
      column: cells.read(column, mark_cells.by_token, column, text)
      for column in there
      if column != spans_of
    }
    if found and lists:
      cells.faults[spans_of] = (
        f"spans, and numbers a token in {next(iter(lists))!r}; keep one"
      )
    return Marks(found, lists.get(weights_of), lists.get(rewards_of))

  def _rewards(self, cells: "_Cells", columns: tuple[str, ...]) -> Any:
    """A number a column, or a tuple of aspects; None where it has none."""
    if not set(columns) <= set(self.used):
      return None
    if self._aspects is not None:
      read = [cells.read(c, self._aspects.read) for c in columns]
    else:
      read = [cells.read(c, parsing.reward, c) for c in columns]
    return None if None in read else tuple(read)

  def _with_tokens(
    self, cells: "_Cells", text: str, ids_of: str, logprobs_of: str
  ) -> str:
    """A completion with the tokens of its columns; the text where wrong."""
    ids = cells.read(ids_of, logged_tokens.ids)
    logps = None
    if logprobs_of in self.used:
      logps = cells.read(logprobs_of, logged_tokens.logprobs)
    if ids is None or (logprobs_of in self.used and logps is None):
      return text
    return cells.noting(
      logprobs_of, text, lambda: logged_tokens.joined(text, ids, logps)
    )

  @staticmethod
  def _logged(cells: "_Cells", text: str, logged: float | None) -> float | None:
    """The sum of a completion's log-probs, as logged or of its tokens."""
    summed = text.logp if isinstance(text, TokenText) else None
    if summed is None:
      return logged
    if logged is not None:
      cells.noting(
        "behaviour_logps",
        None,
        lambda: logged_tokens.check_sum(summed, logged),
      )
    return summed

  def _group(self, cells: "_Cells", source: str) -> Record:
    prompt = cells.read("prompt", parsing.prompt)
    completions = cells.read("completions", parsing.replies, prompt) or ()
    aspects = self._aspects
    if aspects is None:
      rewards = cells.read("rewards", parsing.rewards) or ()
    else:
      rewards = cells.read("rewards", parsing.each, aspects.read) or ()
    logged = ids = logps = None
    if "behaviour_logps" in self.used:
      logged = cells.read("behaviour_logps", parsing.numbers) or ()
    if IDS in self.used:
      ids = cells.read(IDS, parsing.each, logged_tokens.ids) or ()
      if LOGPROBS in self.used:
        logps = cells.read(LOGPROBS, parsing.each, logged_tokens.logprobs) or ()
    for name, found in (
      ("rewards", rewards),
      ("behaviour_logps", logged),
      (IDS, ids),
      (LOGPROBS, logps),
    ):
      if found is None or cells.faults or len(found) == len(completions):
        continue
      cells.faults[name] = (
        f"{len(found)} {name} for {len(completions)} completions"
      )
    if ids is not None and not cells.faults:
      completions, logged = self._group_tokens(
        cells, completions, ids, logps, logged
      )
    known = None if cells.faults else self._group_marks(cells, completions)
    return Record(
      prompt,
      completions,
      rewards if aspects is None else None,
      None,
      False,
      source,
      logged,
      aspects=None if aspects is None else rewards,
      marks=known,
    )

  def _group_marks(
    self, cells: "_Cells", texts: tuple[str, ...]
  ) -> tuple[Marks, ...] | None:
    """What is known of the parts of each completion of a group."""
    there = [column for column in marks.SINGLE if column in self.used]
    for column in there:
      items = cells.row.get(column)
      if column == marks.SPANS and parsing.is_empty(items):
        continue
      if not isinstance(items, list) or len(items) != len(texts):
        cells.faults[column] = (
          f"{len(items)} lists for {len(texts)} completions"
          if isinstance(items, list)
          else f"{describe(items)} where a list of lists belongs"
        )
    if not there or cells.faults:
      return None
    made = []
    for k, text in enumerate(texts):
      one = {c: cells.row.get(c) for c in there}
      own = _Cells({c: v[k] if v else None for c, v in one.items()})
      made.append(self._marks(own, text, marks.SINGLE) or Marks())
      for column, what in own.faults.items():
        cells.faults.setdefault(column, f"item {k}: {what}")
    return tuple(made)

  def _group_tokens(
    self, cells: "_Cells", texts: Any, ids: Any, logps: Any, logged: Any
  ) -> tuple[Any, Any]:
    """Completions with their tokens, and the sums of their log-probs."""
    made, sums = [], []
    for k, text in enumerate(texts):
      joined = cells.noting(
        LOGPROBS,
        text,
        lambda k=k, text=text: logged_tokens.joined(
          text, ids[k], None if logps is None else logps[k]
        ),
        f"item {k}: ",
      )
      made.append(joined)
      sums.append(
        self._logged(cells, joined, None if logged is None else logged[k])
      )
    return tuple(made), None if None in sums else tuple(sums)

  def _ultrafeedback(self, cells: "_Cells", source: str) -> Record:
    prompt = cells.read("instruction", parsing.text)
    read = cells.read("completions", parsing.scored_replies, self._aspects)
    texts, rewards = read or ((), ())
    if self._aspects is None:
      return Record(prompt, texts, rewards, None, False, source)
    return Record(prompt, texts, None, None, False, source, aspects=rewards)

  def _pair(self, cells: "_Cells", source: str) -> Record:
    if self._implicit(cells.row):
      self.set_aside += "prompt" in self.used
      prompt, chosen, rejected = cells.split() or ("", "", "")
    else:
      prompt = cells.read("prompt", parsing.prompt)
      chosen = cells.read("chosen", parsing.reply, prompt)
      rejected = cells.read("rejected", parsing.reply, prompt)
    rewards = self._rewards(cells, self._reward_columns or ("none",))
    sums: list[float | None] = [None]
    if PAIR_IDS[0] in self.used and not cells.faults:
      chosen, rejected = (
        self._with_tokens(cells, text, *columns)
        for text, *columns in zip(
          (chosen, rejected), PAIR_IDS, PAIR_LOGPROBS, strict=True
        )
      )
      sums = [self._logged(cells, text, None) for text in (chosen, rejected)]
    known: list[Marks | None] = [None, None]
    if not cells.faults:
      sides = zip((chosen, rejected), marks.PAIR, strict=True)
      known = [self._marks(cells, text, names) for text, names in sides]
    margin = None
    if MARGIN in self.used and cells.row.get(MARGIN) is not None:
      margin = cells.read(MARGIN, parsing.number)
      if margin is None:
        cells.faults[MARGIN] += (
          ' (it holds how much better "chosen" was rated; rename a column of '
          "another meaning)"
        )
    logged = tuple(x for x in sums if x is not None)
    return Record(
      prompt,
      (chosen, rejected),
      rewards if self._aspects is None else None,
      None,
      True,
      source,
      logged if len(logged) == 2 else None,
      margin=margin,
      aspects=rewards if self._aspects is not None else None,
      marks=None
      if known == [None, None]
      else tuple(each or Marks() for each in known),
    )

  def _implicit(self, row: dict[str, Any]) -> bool:
    """Whether chosen and rejected repeat the prompt.

    They do without a prompt column, and in data sets whose prompt column
    keeps the text of the first turn beside whole conversations.
    """
    if "prompt" not in self.used:
      return True
    return isinstance(row.get("prompt"), str) and all(
      isinstance(row.get(c), list) and len(row[c]) > 1
      for c in ("chosen", "rejected")
    )


class _Cells:
  """Cells of a row, and the faults that are found in them."""

  def __init__(self, row: dict[str, Any]):
    self.row = row
    self.faults: dict[str, str] = {}

  def read(self, column: str, parse: Any, *more: Any) -> Any:
    """Parses a cell; None, and a fault noted, where it is wrong."""
    try:
      if column not in self.row:
        raise Fault("missing")
      if self.row[column] is None:
        raise Fault("null")
      return parse(self.row[column], *more)
    except Fault as fault:
      self.faults[column] = str(fault)
      return None

  def noting(
    self, column: str, otherwise: Any, make: Any, where: str = ""
  ) -> Any:
    """What `make` makes; `otherwise`, and a fault noted, where it refuses."""
    try:
      return make()
    except Fault as fault:
      self.faults[column] = f"{where}{fault}"
      return otherwise

  def split(self) -> tuple[Prompt, str, str] | None:
    """Finds the implicit prompt of a pair."""
    both = [
      self.read(c, parsing.whole_conversation_or_text)
      for c in ("chosen", "rejected")
    ]
    if self.faults:
      return None
    try:
      return parsing.split_pair(*both)
    except Fault as fault:
      self.faults["chosen"] = str(fault)
      return None
