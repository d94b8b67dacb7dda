"""Prompts and completions as tokens, cut to size."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from offalign.data.reading.records import Prompt, count
from offalign.data.reading.token_text import TokenText
from offalign.data.text import role_markers
from offalign.data.text.boundary import Boundaries, Followed, Laid, Turn
from offalign.data.text.conversations import Conversations
from offalign.data.text.laid import LaidPrompts
from offalign.data.text.plain_text import Texts
from offalign.data.text.ragged import Ragged
from offalign.data.text.round_trip import lost_prompt
from offalign.data.text.spool import Spool
from offalign.errors import UserError, marked, option
from offalign.progress import Progress

LIMIT = 256
"""Tokens that a run keeps of a prompt, and of a completion, by default."""
_CHUNK = 1024  # texts tokenised at a time
_NAMED = 10  # texts that cannot be encoded that an error names
_SECONDS = 5.0  # for which more of them are looked for
_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


class Unencodable(UserError):
  """A prompt or a completion that cannot be encoded.

  Attributes:
    index: of the prompt or the sequence.
    is_prompt: which of the two.
    others: the next few that cannot be encoded either.
  """

  def __init__(
    self,
    message: str,
    index: int,
    is_prompt: bool,
    others: tuple[int, ...] = (),
  ):
    """`message` is what is wrong with it."""
    super().__init__(message)
    self.index = index
    self.is_prompt = is_prompt
    self.others = others


@dataclasses.dataclass(frozen=True)
class Encoded:
  """Distinct prompts, and distinct completions of them, as tokens.

  Attributes:
    prompts: their tokens.
    completions: their tokens, none empty.
    cut_prompts: how many prompts were cut.
    cut_completions: how many completions were cut, and so lack their end.
    vanished: the completions that have text, but no token of it.
    sentences: what else is to be known.
    lost_prompts: uint8, `round_trip.Lost` flags of each prompt.
    lost_completions: uint8, those of each completion.
    longest_completion: tokens of the longest completion before any cut, its
      end included.
  """

  prompts: Ragged
  completions: Ragged
  cut_prompts: int
  cut_completions: int
  vanished: tuple[int, ...]
  sentences: tuple[str, ...]
  lost_prompts: np.ndarray
  lost_completions: np.ndarray
  longest_completion: int


@dataclasses.dataclass(frozen=True)
class Layout:
  """How a tokenizer lays out prompts and completions.

  Attributes:
    texts: encodes plain text, and conversations where there is no template.
    chat: encodes conversations by a chat template, or None.
    bos_id: stands for a prompt without any token, or None.
    no_chat: why conversations are refused where nothing encodes them.
  """

  texts: Texts
  chat: Conversations | None
  bos_id: int | None
  no_chat: str

  def prompts(
    self, prompts: Sequence[Prompt], max_length: int | None
  ) -> tuple[list[np.ndarray], int]:
    """See `Tokenizer.encode_prompts`."""
    self._check(prompts, max_length, None)
    laid: list[Laid] = []
    with _progress(len(prompts)) as bar:
      for part in _in_chunks(
        self._lay, len(prompts), prompts.__getitem__, bar, is_prompt=True
      ):
        laid += part
    return self._cut_prompts(laid, max_length)

  def rows(
    self,
    prompts: Sequence[Prompt],
    sequences: Sequence[tuple[int, str]],
    max_prompt: int | None,
    max_completion: int | None,
    boundaries: Boundaries | None = None,
    folder: Path | None = None,
  ) -> Encoded:
    """See `Tokenizer.encode_rows`."""
    self._check(prompts, max_prompt, max_completion)
    found = boundaries or Boundaries()
    n = len(sequences)
    y = Spool(folder)
    vanished: list[int] = []
    cut_y = longest = done = 0
    with _progress(len(prompts) + n) as bar:
      laid = LaidPrompts(prompts, folder)
      for part in _in_chunks(
        self._lay, len(prompts), prompts.__getitem__, bar, is_prompt=True
      ):
        laid.add(part)
      laid.seal()
      laid, settled = self._settle(laid, prompts, sequences, folder)

      def turn(i: int) -> Turn:
        q, text = sequences[i]
        return laid[q], text

      for followed in _in_chunks(
        lambda turns: self._follow(turns, found), n, turn, bar, is_prompt=False
      ):
        kept = [whole[:max_completion] for whole, _ in followed]
        for i, (short, (whole, header)) in enumerate(
          zip(kept, followed, strict=True), done
        ):
          cut_y += len(short) < len(whole)
          longest = max(longest, len(whole))
          text = sequences[i][1]
          if isinstance(text, TokenText):
            continue  # its tokens may be the end alone, and are as logged
          if text and min(len(short), len(whole) - 1) <= header:
            vanished.append(i)
        y.add(kept)
        done += len(kept)
        laid.release()
    x, cut_x = self._cut_to(laid, max_prompt, folder)
    said = [*found.sentences(), *settled, *self._about(laid)]
    empty = sum(not text for _, text in sequences)
    if empty:
      said.append(f"{count(empty, 'completion')} of no text: only the end")
    talks = self.chat is not None
    lost = np.fromiter(
      (lost_prompt(at, max_prompt, by_template=talks) for at in laid),
      np.uint8,
      len(laid),
    )
    replies = np.zeros(n, np.uint8)
    if talks:
      talk = [
        not isinstance(prompts[q], str) and not isinstance(text, TokenText)
        for q, text in sequences
      ]
      replies[np.flatnonzero(talk)] = found.lost[len(found.lost) - sum(talk) :]
    return Encoded(
      x,
      y.done(),
      cut_x,
      cut_y,
      tuple(vanished),
      tuple(said),
      lost,
      replies,
      longest,
    )

  def cut_prompt(
    self, prompt: Prompt, tokens: np.ndarray, limit: int
  ) -> np.ndarray:
    """See `Tokenizer.cut_prompt`."""
    before, after = len(self.texts.before), len(self.texts.after)
    if self.chat is not None and not isinstance(prompt, str):
      starts = len(tokens) > 0 and tokens[0] == self.bos_id
      before, after = int(starts), 0
    room = max(limit - before - after, 0)
    end = len(tokens) - after
    if end - before <= room:
      return tokens
    return np.concatenate(
      [tokens[:before], tokens[end - room : end], tokens[end:]]
    )

  def _settle(
    self,
    laid: LaidPrompts,
    prompts: Sequence[Prompt],
    sequences: Sequence[tuple[int, str]],
    folder: Path | None,
  ) -> tuple[LaidPrompts, list[str]]:
    """Puts empty blocks of thinking into prompts; says of how many."""
    chat = self.chat
    if chat is None or not chat.writes_blocks:
      return laid, []
    replies: dict[int, list[str]] = {}
    for q, text in sequences:
      # What was sampled follows the prompt that was asked.
      if not isinstance(prompts[q], str) and not isinstance(text, TokenText):
        replies.setdefault(q, []).append(text)
    moved = mixed = 0
    made = LaidPrompts(prompts, folder)
    for q, before in enumerate(laid):
      after = before
      if q in replies:
        after, differ = chat.settle(before, replies[q])
        moved += after is not before
        mixed += differ
      made.add([after])
    made.seal()
    said = []
    if moved:
      said.append(
        f"{count(moved, 'conversation')}: the chat template writes an empty "
        "block of thinking before the reply; it is part of the prompt and "
        "not trained on"
      )
    if mixed:
      said.append(
        f"{count(mixed, 'conversation')} with replies that have thoughts and "
        "replies that have none: the empty block of thinking that the chat "
        "template writes is trained on, as the choice not to think"
      )
    return made, said

  def probe(self) -> str:
    """What changes where the same data becomes other tokens: the date."""
    if self.chat is None:
      return ""
    return role_markers.written(self.chat.template)

  def _check(
    self,
    prompts: Sequence[Prompt],
    max_prompt: int | None,
    max_completion: int | None,
  ) -> None:
    """Refuses what is no single row's fault."""
    talk = any(not isinstance(prompt, str) for prompt in prompts)
    if talk and self.chat is None and not self.texts.markers:
      raise UserError(self.no_chat)
    fixed = len(self.texts.before) + len(self.texts.after)
    if max_prompt is not None and max_prompt <= fixed:
      raise UserError(
        f"{option('max_prompt')} must be at least {fixed + 1} with this "
        f"tokenizer, not {max_prompt}"
      )
    if max_completion is not None and max_completion < 1:
      raise UserError(
        f"{option('max_completion')} must be at least 1, not {max_completion}"
      )

  def _about(self, laid: LaidPrompts) -> list[str]:
    """What a chat template does, or not, that may surprise."""
    if self.chat is None:
      return []
    said = []
    chats = without = left_out = 0
    for at in laid:
      if not isinstance(at.prompt, str):
        chats += 1
        without += not len(at.before)
        left_out += self.chat.leaves_out(at)
    if chats < len(laid):
      said.append(
        "note: the tokenizer has a chat template, but plain text is used as "
        "it is, without it"
      )
    if without and self.bos_id is not None:
      said.append(
        f"{count(without, 'conversation')}: the chat template writes no "
        "beginning-of-sequence token, and none was added"
      )
    if left_out:
      said.append(
        f"{count(left_out, 'conversation')}: the chat template leaves out "
        "reasoning of earlier turns, as when the model is asked"
      )
    if chats and self.chat.template.asks_the_date:
      said.append(
        "note: the chat template asks for the date, so that the same data "
        "may become other tokens on another day"
      )
    return said

  def _lay(self, prompts: Sequence[Prompt]) -> list[Laid]:
    if self.chat is None:
      return self.texts.lay(prompts)
    talk = [not isinstance(prompt, str) for prompt in prompts]
    return _either(prompts, talk, self.chat.lay, self.texts.lay)

  def _follow(self, turns: Sequence[Turn], found: Boundaries) -> list[Followed]:
    return _either(
      turns,
      [isinstance(text, TokenText) for _, text in turns],
      self._logged,
      lambda chosen: self._encoded(chosen, found),
    )

  def _logged(self, turns: Sequence[Turn]) -> list[Followed]:
    """Completions by the ids that were logged.

    Raises:
      UserError: for an id that the tokenizer does not have.
    """
    made: list[Followed] = []
    for _, text in turns:
      assert isinstance(text, TokenText)
      largest = int(text.ids.max())
      if largest >= self.texts.plain.vocab_size:
        raise UserError(
          f"the logged token id {largest} is not of this tokenizer, whose "
          f"largest is {self.texts.plain.vocab_size - 1}: give the tokenizer "
          "of the model that wrote the completions, or take the columns of "
          "tokens out"
        )
      made.append((text.ids, 0))
    return made

  def _encoded(
    self, turns: Sequence[Turn], found: Boundaries
  ) -> list[Followed]:
    chat = self.chat
    if chat is None:
      return self.texts.follow(turns, found)
    return _either(
      turns,
      [not isinstance(at.prompt, str) for at, _ in turns],
      lambda chosen: chat.follow(chosen, found),
      lambda chosen: self.texts.follow(chosen, found),
    )

  def _cut_to(
    self, laid: LaidPrompts, max_length: int | None, folder: Path | None
  ) -> tuple[Ragged, int]:
    """Prompts cut to their last tokens, and how many were cut."""
    spool, cut = Spool(folder), 0
    for start in range(0, len(laid), _CHUNK):
      chunk = range(start, min(start + _CHUNK, len(laid)))
      encoded, more = self._cut_prompts([laid[q] for q in chunk], max_length)
      spool.add(encoded)
      cut += more
      laid.release()
    return spool.done(), cut

  def _cut_prompts(
    self, laid: list[Laid], max_length: int | None
  ) -> tuple[list[np.ndarray], int]:
    cut = 0
    encoded = []
    for at in laid:
      body = at.body
      if max_length is not None:
        room = max(max_length - len(at.before) - len(at.after), 0)
        cut += len(body) > room
        body = body[max(len(body) - room, 0) :]
      whole = np.concatenate([at.before, body, at.after])
      if not len(whole) and self.bos_id is not None:
        whole = np.array([self.bos_id], np.int32)
      encoded.append(whole)
    return encoded, cut


def _progress(total: int) -> Progress:
  return Progress("tokenising", total, "text")


def _in_chunks(
  work: Callable[[Sequence[_Item]], list[_Made]],
  number: int,
  item: Callable[[int], _Item],
  bar: Progress,
  *,
  is_prompt: bool,
) -> Iterator[list[_Made]]:
  """Yields `work(items)`, in parts.

  Args:
    work: what is done to some items.
    number: of items.
    item: gives the i-th.
    bar: counts them.
    is_prompt: whether they are prompts.

  Raises:
    Unencodable: for the first item that `work` refuses.
  """
  for start in range(0, number, _CHUNK):
    chunk = [item(i) for i in range(start, min(start + _CHUNK, number))]
    try:
      made = work(chunk)
    except UserError:
      refused = _refused(work, range(start, number), item)
      if refused:
        (first, error), *others = refused
        numbers = tuple(number for number, _ in others)
        raise Unencodable(marked(error), first, is_prompt, numbers) from error
      raise
    yield made
    bar.update(len(chunk))


def _refused(
  work: Callable[[Sequence[_Item]], list[_Made]],
  numbers: Iterable[int],
  item: Callable[[int], _Item],
) -> list[tuple[int, UserError]]:
  """The first few of some items that `work` refuses, and why."""
  found: list[tuple[int, UserError]] = []
  until = time.monotonic() + _SECONDS
  for i in numbers:
    try:
      work([item(i)])
    except UserError as error:
      found.append((i, error.with_traceback(None)))  # which holds the texts
    late = time.monotonic() > until
    if len(found) == _NAMED or (found and late):
      break
  return found


def _either(
  items: Sequence[_Item],
  flags: Sequence[bool],
  yes: Callable[[Sequence[_Item]], list[_Made]],
  no: Callable[[Sequence[_Item]], list[_Made]],
) -> list[_Made]:
  """What `yes` makes of the items with a flag, and `no` of the others."""
  made: dict[int, _Made] = {}
  for work, wanted in ((yes, True), (no, False)):
    at = [i for i, flag in enumerate(flags) if flag is wanted]
    if at:
      made |= zip(at, work([items[i] for i in at]), strict=True)
  return [made[i] for i in range(len(items))]
