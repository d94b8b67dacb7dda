"""The world of the `ops` track: COPY, REV or SORT a few letters.

Prompts, demonstrators of mixed quality and a graded gold reward, all in code
and all in numpy, so that every number of the track can be recomputed.

A prompt is [op, l1 .. ln, PAD .., SEP], seven tokens wide, n in 2 .. 5. Its
PADs lie between the letters and SEP and belong to the prompt: models attend
to all seven positions (a prompt mask of all True). A completion is at most
eleven tokens wide, EOS included; PAD fills what follows EOS and is masked.
"""

import dataclasses

import numpy as np

from benchmarks.worlds import streams
from offalign.errors import UserError

PAD, SEP, EOS, COPY, REV, SORT, PRE, UM, DONE = range(9)
FIRST_LETTER, LETTERS = 9, 16
VOCAB = FIRST_LETTER + LETTERS
OPS = (COPY, REV, SORT)
MIN_LENGTH, MAX_LENGTH = 2, 5
PROMPT_WIDTH = MAX_LENGTH + 2
COMPLETION_WIDTH = 11

DEMONSTRATORS = ("chatty", "lazy", "careful")
_SHARE = (0.5, 0.3, 0.2)
_ERROR = np.array([0.18, 0.08, 0.04])
_DONE = np.array([0.0, 0.1, 0.8])
_DIFFICULTY = np.array([0.5, 1.0, 1.6])  # of COPY, REV, SORT
_RANDOM_LETTER = 0.6  # of the errors; the others drop the letter
_UM = 0.25

# lcm(1 .. COMPLETION_WIDTH) makes every term of the reward a whole number of
# units, so that equal rewards are equal floats and ties are exact.
_UNIT = 27720


def generator(stream: str, seed: int) -> np.random.Generator:
  """The generator of one stream of one seed, independent of all others.

  Args:
    stream: one of `streams.STREAMS`.
    seed: >= 0.

  Raises:
    UserError: for a stream that does not exist.
  """
  return np.random.default_rng([streams.number(stream), seed])


def prompts(n: int, rng: np.random.Generator) -> np.ndarray:
  """Draws n prompts: op, length and letters uniform; int32 [n, 7]."""
  op = rng.choice(OPS, n)
  length = rng.integers(MIN_LENGTH, MAX_LENGTH + 1, n)
  letters = rng.integers(FIRST_LETTER, VOCAB, (n, MAX_LENGTH))
  letters[np.arange(MAX_LENGTH) >= length[:, None]] = PAD
  sep = np.full((n, 1), SEP)
  return np.concatenate([op[:, None], letters, sep], axis=1).astype(np.int32)


def targets(prompts: np.ndarray) -> np.ndarray:
  """The right answers: [n, 7] -> int32 [n, 5], PAD after the letters.

  SORT is ascending by token; repeated letters stay.
  """
  op, letters = prompts[:, :1], prompts[:, 1:-1]
  place = np.arange(MAX_LENGTH)
  length = (letters != PAD).sum(axis=1, keepdims=True)
  back = np.where(place < length, length - 1 - place, place)
  reverse = np.take_along_axis(letters, back, axis=1)
  ascending = np.sort(np.where(letters == PAD, VOCAB, letters), axis=1)
  ascending[ascending == VOCAB] = PAD
  answer = np.where(
    op == REV, reverse, np.where(op == SORT, ascending, letters)
  )
  return answer.astype(np.int32)


def demonstrations(
  prompts: np.ndarray, rng: np.random.Generator, style: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """One demonstration of each prompt, by demonstrators of mixed quality.

  With k = .5, 1, 1.6 for COPY, REV, SORT:
    chatty (50%): PRE first, token error .18 k, UM after each letter written
      with probability .25; never DONE.
    lazy (30%): token error .08 k, only the first ceil(.6 n) letters, DONE
      with probability .1.
    careful (20%): token error .04 k, DONE with probability .8.
  Of the token errors 60% write a uniformly random letter (which may be the
  right one) and 40% drop the letter.

  The longest chatty demonstration (PRE, five letters, five UMs, EOS) has
  twelve tokens. It is cut at the width, as a sampler would cut it, and so
  has no EOS; that happens to about one demonstration in 12,000.

  Args:
    prompts: [n, 7].
    rng: where the randomness comes from.
    style: an index into `DEMONSTRATORS` to have them all by one; None mixes.

  Returns:
    int32 tokens [n, 11], PAD after the end, and the bool mask [n, 11] of the
    tokens that count, EOS included.
  """
  answer = targets(prompts)
  n, width = answer.shape
  mixed = np.asarray(rng.choice(len(DEMONSTRATORS), n, p=_SHARE))
  styles = mixed if style is None else np.full(n, style)
  chatty, lazy = styles[:, None] == 0, styles[:, None] == 1
  length = (answer != PAD).sum(axis=1, keepdims=True)
  limit = np.where(lazy, (3 * length + 4) // 5, length)  # ceil(.6 n)
  rate = _ERROR[styles] * _DIFFICULTY[prompts[:, 0] - COPY]
  error = rng.random((n, width)) < rate[:, None]
  replaced = rng.random((n, width)) < _RANDOM_LETTER
  noise = rng.integers(FIRST_LETTER, VOCAB, (n, width))
  written = (np.arange(width) < limit) & ~(error & ~replaced)
  um = written & chatty & (rng.random((n, width)) < _UM)
  done = rng.random((n, 1)) < _DONE[styles][:, None]
  return _assemble(
    pre=chatty,
    letters=np.where(error & replaced, noise, answer),
    written=written,
    um=um,
    done=done,
  )


def _assemble(
  *,
  pre: np.ndarray,
  letters: np.ndarray,
  written: np.ndarray,
  um: np.ndarray,
  done: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Lays out PRE l1 UM l2 UM .. DONE EOS without gaps, cut at the width.

  `letters` [n, 5] are there where `written`, and an UM follows where `um`;
  `pre` and `done` are [n, 1]. Returns tokens and mask, [n, 11] each.
  """
  n = len(letters)

  def each_letter(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.stack([first, second], axis=2).reshape(n, -1)

  body = each_letter(letters, np.full_like(letters, UM))
  ends = np.full((n, 3), (PRE, DONE, EOS))
  slots = np.hstack([ends[:, :1], body, ends[:, 1:]])
  always = np.ones((n, 1), bool)
  filled = np.hstack([pre, each_letter(written, um), done, always])
  order = np.argsort(~filled, axis=1, kind="stable")[:, :COMPLETION_WIDTH]
  mask = np.take_along_axis(filled, order, axis=1)
  tokens = np.take_along_axis(slots, order, axis=1)
  return np.where(mask, tokens, PAD).astype(np.int32), mask


def lcs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Longest common subsequence, row by row: [n, S], [n, T] -> int64 [n]."""
  columns = np.ascontiguousarray(b.T)
  best = np.zeros((len(columns) + 1, len(b)), np.int8)
  for left in a.T:
    diagonal = best[0].copy()
    for j, right in enumerate(columns):
      above = best[j + 1].copy()
      longest = np.maximum(above, best[j])
      best[j + 1] = np.where(left == right, diagonal + 1, longest)
      diagonal = above
  return best[-1].astype(np.int64)


@dataclasses.dataclass(frozen=True)
class _Counts:
  """What the gold reward is made of: int64 or bool, [n] each."""

  length: np.ndarray
  letters: np.ndarray
  common: np.ndarray
  pre: np.ndarray
  ums: np.ndarray
  dones: np.ndarray
  ends_done: np.ndarray
  ended: np.ndarray

  @property
  def exact(self) -> np.ndarray:
    # Two sequences of length n with a common one of length n are the same.
    return (self.common == self.length) & (self.letters == self.length)


def _count(
  prompts: np.ndarray, tokens: np.ndarray, mask: np.ndarray
) -> _Counts:
  """[n, 7], [n, T], [n, T] -> the counts, over what precedes EOS."""
  eos = mask & (tokens == EOS)
  content = mask & (np.cumsum(eos, axis=1) == 0)
  said = np.where(content, tokens, -1)
  letters = np.where(said >= FIRST_LETTER, said, -1)  # -1 matches nothing
  answer = targets(prompts)
  last = np.where(content, np.arange(tokens.shape[1]), -1).max(axis=1)
  final = np.take_along_axis(said, np.maximum(last, 0)[:, None], axis=1)[:, 0]
  ended = eos.any(axis=1)  # final is -1 where nothing was said
  return _Counts(
    length=(answer != PAD).sum(axis=1),
    letters=(letters >= 0).sum(axis=1),
    common=lcs(letters, answer),
    pre=(said == PRE).any(axis=1),
    ums=(said == UM).sum(axis=1),
    dones=(said == DONE).sum(axis=1),
    ends_done=ended & (final == DONE),
    ended=ended,
  )


def _flat(
  prompts: np.ndarray, tokens: np.ndarray, mask: np.ndarray
) -> tuple[_Counts, tuple[int, ...]]:
  """Counts of [n, T] or [n, K, T] completions, and the shape they came in."""
  shape, width = tokens.shape[:-1], tokens.shape[-1]
  if width > COMPLETION_WIDTH:
    raise UserError(
      f"completions are at most {COMPLETION_WIDTH} tokens wide, not {width}"
    )
  each = tokens.size // (len(prompts) * width)
  counts = _count(
    np.repeat(prompts, each, axis=0),
    tokens.reshape(-1, width),
    np.asarray(mask, bool).reshape(-1, width),
  )
  return counts, shape


def gold_reward(
  prompts: np.ndarray, tokens: np.ndarray, mask: np.ndarray
) -> np.ndarray:
  """The gold reward R, at most 1.75.

  R = LCS(letters, target) / max(#letters, n) + .5 [letters = target]
    + .25 [ended, and the last token before EOS is DONE] - .25 [any PRE]
    - .1 #UM - .1 max(#DONE - 1, 0) - .5 [no EOS]

  over the tokens before the first EOS; the letters are the letter tokens
  among them, in order. Equal rewards are equal floats.

  Args:
    prompts: [n, 7].
    tokens: [n, T] or [n, K, T], T <= 11.
    mask: like `tokens`, True on the completion's tokens, EOS included.

  Returns:
    float64 [n] or [n, K].

  Raises:
    UserError: for wider completions.
  """
  c, shape = _flat(prompts, tokens, mask)
  units = (
    c.common * (_UNIT // np.maximum(c.letters, c.length))
    + (_UNIT // 2) * c.exact
    + (_UNIT // 4) * c.ends_done
    - (_UNIT // 4) * c.pre
    - (_UNIT // 10) * (c.ums + np.maximum(c.dones - 1, 0))
    - (_UNIT // 2) * ~c.ended
  )
  return (units / _UNIT).reshape(shape)


def exact(
  prompts: np.ndarray, tokens: np.ndarray, mask: np.ndarray
) -> np.ndarray:
  """Whether the letters written are the target; shapes as `gold_reward`."""
  counts, shape = _flat(prompts, tokens, mask)
  return counts.exact.reshape(shape)


def offset(prompts: np.ndarray, level: float) -> np.ndarray:
  """A reward offset that depends on the prompt alone: [n, 7] -> [n].

  level * ({COPY: 1, REV: 0, SORT: -1} + ((l1 - 9) mod 4 - 1.5) / 1.5), l1
  the first letter. It moves V*(x) and leaves pi* and every comparison within
  a prompt as they are. Levels 0, .37 and .8 put about .19, .55 and .80 of
  the reward variance between prompts.
  """
  first = (prompts[:, 1] - FIRST_LETTER) % 4
  return level * ((REV - prompts[:, 0]) + (first - 1.5) / 1.5)
