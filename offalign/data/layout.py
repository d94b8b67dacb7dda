"""Prompts and completions as tokens, cut to size."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from offalign.data.conversations import Boundaries, Conversations
from offalign.data.plain import Plain
from offalign.data.records import Prompt, count
from offalign.errors import UserError

_CHUNK = 1024  # conversations tokenised whole at a time


@dataclasses.dataclass(frozen=True)
class Encoded:
  """Distinct prompts, and distinct completions of them, as tokens.

  Attributes:
    prompts: int32 arrays.
    completions: int32 arrays, none empty.
    cut_prompts: how many prompts were cut.
    cut_completions: how many completions were cut, and so lack their end.
    vanished: the completions that have text, but no token of it.
    sentences: what else is to be known.
  """

  prompts: list[np.ndarray]
  completions: list[np.ndarray]
  cut_prompts: int
  cut_completions: int
  vanished: tuple[int, ...]
  sentences: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Laid:
  """A prompt before it is cut.

  Attributes:
    before: tokens that survive a cut.
    body: tokens of which the last survive.
    after: tokens that survive a cut.
    text: as the chat template wrote it, or None.
  """

  before: np.ndarray
  body: np.ndarray
  after: np.ndarray
  text: str | None = None


@dataclasses.dataclass(frozen=True)
class Layout:
  """How a tokenizer lays out prompts and completions.

  Attributes:
    plain: encodes text.
    chat: encodes conversations, or None.
    markers: role -> token before its messages, where chat is None.
    before: tokens before the text of a prompt.
    after: tokens after it.
    bos_id: stands for a prompt without any token, or None.
    eos_id: ends a completion of plain text.
    no_chat: why conversations are refused where there is neither.
  """

  plain: Plain
  chat: Conversations | None
  markers: dict[str, int]
  before: list[int]
  after: list[int]
  bos_id: int | None
  eos_id: int
  no_chat: str

  def prompts(
    self, prompts: Sequence[Prompt], max_length: int | None
  ) -> tuple[list[np.ndarray], int]:
    """See `Tokenizer.encode_prompts`."""
    return self._cut_prompts(self._lay(prompts), max_length)

  def rows(
    self,
    prompts: Sequence[Prompt],
    sequences: Sequence[tuple[int, str]],
    max_prompt: int | None,
    max_completion: int | None,
  ) -> Encoded:
    """See `Tokenizer.encode_rows`."""
    laid = self._lay(prompts)
    x, cut_x = self._cut_prompts(laid, max_prompt)
    wholes: list[np.ndarray] = [np.zeros(0, np.int32)] * len(sequences)
    headers = np.zeros(len(sequences), np.int64)
    found = Boundaries()
    chats, texts = _split([laid[q].text is not None for q, _ in sequences])
    bodies = self.plain.encode([sequences[i][1] for i in texts])
    for i, body in zip(texts, bodies, strict=True):
      wholes[i] = np.append(body, np.int32(self.eos_id))
    for start in range(0, len(chats), _CHUNK):
      part = chats[start : start + _CHUNK]
      completions = self._turns(prompts, laid, sequences, part, found)
      for i, (tokens, header) in zip(part, completions, strict=True):
        wholes[i], headers[i] = tokens, header
    y, cut_y = _cut_completions(wholes, max_completion)
    vanished = tuple(
      i
      for i, (_, text) in enumerate(sequences)
      if text and min(len(y[i]), len(wholes[i]) - 1) <= headers[i]
    )
    said = [*found.sentences(), *self._about(laid)]
    empty = sum(not text for _, text in sequences)
    if empty:
      said.append(f"{count(empty, 'completion')} of no text: only the end")
    return Encoded(x, y, cut_x, cut_y, vanished, tuple(said))

  def probe(self) -> str:
    """What changes where the same data becomes other tokens: the date."""
    return "" if self.chat is None else self.chat.probe

  def _turns(
    self,
    prompts: Sequence[Prompt],
    laid: list[_Laid],
    sequences: Sequence[tuple[int, str]],
    chosen: Sequence[int],
    found: Boundaries,
  ) -> list[tuple[np.ndarray, int]]:
    """Completions by the chat template, and the lengths of their headers."""
    assert self.chat is not None
    conversations, written, replies = [], [], []
    for i in chosen:
      q, reply = sequences[i]
      prompt, at = prompts[q], laid[q]
      assert at.text is not None
      assert not isinstance(prompt, str)
      conversations.append(prompt)
      written.append((at.text, np.concatenate([at.before, at.body])))
      replies.append(reply)
    return self.chat.completions(conversations, written, replies, found)

  def _about(self, laid: list[_Laid]) -> list[str]:
    """What a chat template does that may surprise."""
    said = []
    chats = [at for at in laid if at.text is not None]
    if chats and self.bos_id is not None:
      without = sum(not len(at.before) for at in chats)
      if without:
        said.append(
          f"{count(without, 'conversation')}: the chat template writes no "
          "beginning-of-sequence token, and none was added"
        )
    if chats and self.chat is not None and self.chat.dated:
      said.append(
        "note: the chat template asks for the date, so that the same data "
        "may become other tokens on another day"
      )
    return said

  def _lay(self, prompts: Sequence[Prompt]) -> list[_Laid]:
    laid: dict[int, _Laid] = {}
    talk, texts = _split([not isinstance(prompt, str) for prompt in prompts])
    if talk and self.chat is not None:
      written = self.chat.texts([p for p in prompts if not isinstance(p, str)])
      tokens = self.chat.encode(written)
      for i, text, ids in zip(talk, written, tokens, strict=True):
        n = int(len(ids) > 0 and ids[0] == self.bos_id)
        laid[i] = _Laid(ids[:n], ids[n:], _array([]), text)
    elif talk and not self.markers:
      raise UserError(self.no_chat)
    else:
      texts = [*texts, *talk]
    bodies = self._bodies([prompts[i] for i in texts])
    before, after = _array(self.before), _array(self.after)
    for i, body in zip(texts, bodies, strict=True):
      laid[i] = _Laid(before, body, after)
    return [laid[i] for i in range(len(prompts))]

  def _bodies(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
    """Tokens of prompts without a template, less what surrounds each."""
    texts: list[str] = []
    for prompt in prompts:
      if isinstance(prompt, str):
        texts.append(prompt)
      else:
        texts += [f"{message.content}\n" for message in prompt]
    encoded = iter(self.plain.encode(texts))
    bodies = []
    for prompt in prompts:
      if isinstance(prompt, str):
        bodies.append(next(encoded))
        continue
      parts: list[np.ndarray] = []
      for message in prompt:
        parts += [_array([self.markers[message.role]]), next(encoded)]
      bodies.append(
        np.concatenate([*parts, _array([self.markers["assistant"]])])
      )
    return bodies

  def _cut_prompts(
    self, laid: list[_Laid], max_length: int | None
  ) -> tuple[list[np.ndarray], int]:
    fixed = len(self.before) + len(self.after)
    if max_length is not None and max_length <= fixed:
      raise UserError(
        f"max_prompt must be at least {fixed + 1} with this tokenizer, not "
        f"{max_length}"
      )
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
        whole = _array([self.bos_id])
      encoded.append(whole)
    return encoded, cut


def _cut_completions(
  wholes: Sequence[np.ndarray], max_length: int | None
) -> tuple[list[np.ndarray], int]:
  """The first `max_length` tokens of completions, and how many were cut."""
  if max_length is not None and max_length < 1:
    raise UserError(f"max_completion must be at least 1, not {max_length}")
  y = [whole[:max_length] for whole in wholes]
  return y, sum(
    len(part) < len(whole) for part, whole in zip(y, wholes, strict=True)
  )


def _split(flags: Sequence[bool]) -> tuple[list[int], list[int]]:
  """Where they are true, and where they are false."""
  yes = [i for i, flag in enumerate(flags) if flag]
  return yes, [i for i, flag in enumerate(flags) if not flag]


def _array(ids: Sequence[int]) -> np.ndarray:
  return np.array(ids, np.int32)
