"""A policy, opened from a run folder: its text, its log-probs, its files.

Above 300 lines, a third of them docstrings: `Policy` is the one object that
users hold after training.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from offalign import losses
from offalign.data import Tokenizer
from offalign.data import load as load_data
from offalign.data.batches.vocabulary import check_tokens
from offalign.data.reading.memory import Source
from offalign.data.text.ragged import Ragged
from offalign.distributed import hosts, sharding
from offalign.errors import UserError
from offalign.generation.completing import (
  Completed,
  complete,
  encode,
  first_seed,
  unfinished,
  which_cut,
)
from offalign.generation.completions import Prompt
from offalign.generation.endpoint import options as endpoint_options
from offalign.generation.endpoint.completed import completed
from offalign.generation.endpoint.sampler import EndpointSampler
from offalign.generation.streaming import Piece, stream
from offalign.leaderboard.rows import Row
from offalign.losses import Loss
from offalign.models import attending
from offalign.models.attending import AttentionPath
from offalign.models.base import Model
from offalign.policy import export as exporting
from offalign.policy import held_out, pretrained, scoring, start
from offalign.policy import limit as limits
from offalign.policy import row as board_row
from offalign.policy.checkpoint import Checkpoints, choose
from offalign.policy.folder import TOKENIZER, held_out_metrics, read_run
from offalign.policy.trained_rewards import refuse_as_policy
from offalign.types import Params

BATCH = 32


@dataclasses.dataclass(frozen=True)
class Streamed:
  """A completion that grows.

  Attributes:
    prompt_tokens: tokens of the prompt.
    pieces: of the completion, as they come; see
      `offalign.generation.streaming.Piece`.
  """

  prompt_tokens: int
  pieces: Iterator[Piece]


class Policy:
  """A policy, opened from a run folder or a model folder.

  `load` reads run.json; weights and tokenizer are read when first used.

  Attributes:
    folder: the run folder, or the model folder.
    about: its run.json, or what stands for it.
    step: of the checkpoint that the weights are from; 0 for a model folder.
  """

  def __init__(
    self,
    folder: str | pathlib.Path,
    about: dict[str, Any],
    step: int,
    attention: AttentionPath = "auto",
  ):
    """Makes a policy of what `load` finds; call `load` instead.

    Args:
      folder: the run folder.
      about: its run.json.
      step: of one of its checkpoints.
      attention: how attention is computed.
    """
    self._attention = attention
    self.folder = pathlib.Path(folder)
    self.about = about
    self.step = step

  @classmethod
  def load(
    cls,
    folder: str | pathlib.Path,
    step: str | int = "newest",
    *,
    attention: AttentionPath = "auto",
  ) -> "Policy":
    """Opens the policy of a run, or a pretrained one.

    Args:
      folder: the run folder; or a Hugging Face model folder, or a name on its
        hub (org/name; uses the network).
      step: of the checkpoint: "newest", "best" (see `Config.keep_best`) or a
        number.
      attention: how attention is computed, as in `LearnerConfig`; a kernel
        that does not serve the model is refused when the model is first used.

    Raises:
      UserError: where it is neither, or has no such checkpoint.
    """
    attending.check(attention)
    if pretrained.is_one(folder):
      return cls(folder, pretrained.about(folder, step), 0, attention)
    folder = pathlib.Path(folder)
    about = read_run(folder)
    with Checkpoints(folder) as checkpoints:
      if checkpoints.latest is None:
        raise UserError(f"{folder} has no complete checkpoint yet")
    keep_best = about["config"].get("keep_best")
    found = choose(folder, str(step), keep_best)
    return cls(folder, about, found, attention)

  def __repr__(self) -> str:
    what = f"{self.about.get('loss')}, {self.about['model']}"
    return f"Policy({str(self.folder)!r}, step={self.step}: {what})"

  @functools.cached_property
  def loss(self) -> Loss:
    """The loss that trained it."""
    pretrained.refuse(self.about, "loss")
    return losses.get(self.about["loss"])

  @functools.cached_property
  def model(self) -> Model:
    """Its model, without weights."""
    if pretrained.KEY in self.about:
      model = self._pretrained[0]
    else:
      model = start.model_of(self.folder, self.about)
    return attending.choose(model, self._attention, sharding.one_device())

  @functools.cached_property
  def tokenizer(self) -> Tokenizer:
    """Its tokenizer."""
    if pretrained.KEY in self.about:
      return pretrained.tokenizer(self.about)
    return Tokenizer.load(self.folder / TOKENIZER)

  @functools.cached_property
  def chats(self) -> bool:
    """Whether what is typed is a conversation to it, and not plain text.

    It is plain text to a tokenizer that writes no conversations, and to a run
    that was trained on plain text.
    """
    return self.tokenizer.chats and not held_out.are_plain(self.folder)

  @functools.cached_property
  def params(self) -> Params:
    """Its weights in float32, adapters merged; on the first device."""
    if pretrained.KEY in self.about:
      return self._pretrained[1]
    mesh = sharding.one_device()
    return start.restore(self.folder, self.model, mesh, self.step)

  @functools.cached_property
  def _pretrained(self) -> tuple[Model, Params]:
    return pretrained.load(self.about)

  def _limit(self, max_new_tokens: int | None, width: int) -> limits.Limit:
    """The most tokens of a completion after a prompt of `width` tokens."""
    if max_new_tokens is not None:
      why = limits.passes(max_new_tokens, self.model, width)
      return limits.Limit(max_new_tokens, why)
    most = limits.of_run(self.about)
    if pretrained.KEY in self.about:
      most = limits.of_model(self.about[pretrained.KEY])
    return limits.bounded(most, self.model, width)

  def generate(
    self,
    prompts: Iterable[Any],
    *,
    max_new_tokens: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    samples: int = 1,
    seed: int = 0,
    batch_size: int = BATCH,
    sampler: str | None = None,
    verbose: bool = True,
  ) -> list[Completed]:
    """Completes prompts, each once or several times.

    The random numbers are the seed's and the run folder's name's, so that two
    runs do not draw alike; the same call gives the same texts.

    Args:
      prompts: texts, or conversations: lists of {"role": ..., "content": ...}
        or of (role, content).
      max_new_tokens: tokens at most. By default as many as the longest
        completion of the run's training has, or `data.max_completion` if the
        run was given another than the default, and no more than the model
        has positions for.
      temperature: of the sampling; 0 takes the likeliest tokens.
      top_k: draw from the k likeliest tokens; None = from all.
      top_p: draw from the likeliest tokens that have this share of the
        probability; None = from all.
      samples: completions of each prompt, with random numbers of their own;
        the first is the same however many there are, but for rounding.
      seed: of the samples.
      batch_size: completions that are made at a time.
      sampler: "endpoint(url=..., model=...)", an engine that completes the
        prompts in place of this policy, whose tokenizer and limits they have;
        see `offalign.generation.endpoint.options.Engine`. None = the policy
        does.
      verbose: says how many prompts were cut to their end, how many
        completions did not end, and where the default limit is another than
        the run's.

    Returns:
      The completions of each prompt, in the order of the prompts: of prompt i,
      those from i * samples on. `finished` is False where one did not end
      within the limit.

    Raises:
      UserError: for no prompt, or one that cannot be encoded; or for an
        option out of range; or where the run trained a reward model.
    """
    refuse_as_policy(self.folder, self.about, "complete a prompt")
    asked = conversations(prompts)
    config = self.about["config"]
    for name, size in (
      ("max_new_tokens", max_new_tokens),
      ("samples", samples),
      ("batch_size", batch_size),
    ):
      if size is not None and size < 1:
        raise UserError(f"{name} must be at least 1, not {size}")
    if temperature < 0:
      raise UserError(f"temperature must be 0 or above, not {temperature}")
    if samples > 1 and temperature == 0:
      raise UserError(
        f"samples={samples} at temperature 0 are all the same completion: "
        "raise the temperature, or leave samples out"
      )
    encoded, cut = encode(self.tokenizer, asked, config.get("data.max_prompt"))
    width = int(encoded.lengths.max())
    limit = self._limit(max_new_tokens, width)
    said = [limit.why]
    if cut:
      said.append(
        f"{cut} of {len(asked)} prompts are cut to their end, as in training"
      )
    _say(said, verbose)
    if sampler is not None:
      done = self._asked(
        endpoint_options.parse(sampler),
        asked,
        encoded,
        samples,
        stream=self._stream(seed),
        max_new_tokens=limit.tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
      )
    else:
      done = complete(
        self.model,
        self.params,
        self.tokenizer,
        encoded,
        stream=self._stream(seed),
        samples=samples,
        max_new_tokens=limit.tokens,
        batch_size=batch_size,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
      )
    _say([unfinished(done)], verbose)
    if cut:
      flags = which_cut(self.tokenizer, asked, encoded).repeat(samples)
      done = [
        dataclasses.replace(x, prompt_cut=bool(flag))
        for x, flag in zip(done, flags, strict=True)
      ]
    return done

  def _asked(
    self,
    engine: endpoint_options.Engine,
    asked: Sequence[Prompt],
    encoded: Ragged,
    samples: int,
    *,
    stream: str,
    **drawing: Any,
  ) -> list[Completed]:
    """Completions by an engine."""
    sampler = EndpointSampler(engine, self.tokenizer, **drawing)
    try:
      found = sampler.complete(encoded, samples, stream=stream)
    finally:
      sampler.close()
    return completed(
      found, self.tokenizer, asked, knows_drawn=sampler.knows_drawn
    )

  def _stream(self, seed: int) -> str:
    """Name of the random stream of a seed."""
    return f"{seed}/{self.folder.resolve().name}"

  def stream(
    self,
    prompt: Any,
    *,
    max_new_tokens: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
  ) -> Streamed:
    """Completes one prompt, and gives the text as it grows.

    The text is that which `generate` gives the prompt alone, for the same
    options; but the prompt is never cut.

    Args:
      prompt: a text or a conversation; see `generate`.
      max_new_tokens: see `generate`.
      temperature: see `generate`.
      top_k: see `generate`.
      top_p: see `generate`.
      seed: see `generate`.

    Raises:
      UserError: as `generate`.
    """
    refuse_as_policy(self.folder, self.about, "complete a prompt")
    encoded, _ = encode(self.tokenizer, conversations([prompt]), None)
    tokens = encoded[0]
    check_tokens(tokens, self.tokenizer, self.model.vocab_size, self.model.spec)
    pieces = stream(
      self.model,
      self.params,
      self.tokenizer,
      tokens,
      seed=first_seed(self._stream(seed)),
      max_new_tokens=self._limit(max_new_tokens, len(tokens)).tokens,
      temperature=temperature,
      top_k=top_k,
      top_p=top_p,
    )
    return Streamed(len(tokens), pieces)

  def logps(
    self,
    rows: Source,
    *,
    batch_size: int = BATCH,
    max_completion: int | None = None,
    **options: Any,
  ) -> np.ndarray:
    """Log-probs of logged completions, each summed over its tokens; nats.

    Prompts and completions are cut as in the run's training; how many are is
    said. A model folder cuts none, so that a log-ratio of a run to it takes
    one `max_completion` for both.

    Args:
      rows: a path, a list of dicts or a `datasets.Dataset`, in any form that
        `load_data` reads.
      batch_size: completions scored at a time.
      max_completion: tokens of a completion that are kept, the first ones;
        default: the run's limit.
      options: of `load_data`, such as form="sft".

    Returns:
      float32, in the order of the N rows: [N] for single completions, [N, 2]
      for pairs, the chosen one first, and [N, K] for groups, NaN where a row
      has fewer than K.

    Raises:
      UserError: for rows that cannot be read, or a text of which no token is
        left; or where the run trained a reward model.
    """
    refuse_as_policy(self.folder, self.about, "have log-probs")
    for name, size in (
      ("batch_size", batch_size),
      ("max_completion", max_completion),
    ):
      if size is not None and size < 1:
        raise UserError(f"{name} must be at least 1, not {size}")
    table, config = load_data(rows, **options), self.about["config"]
    found = scoring.logps(
      self.model,
      self.params,
      self.tokenizer,
      table.records,
      max_prompt=config.get("data.max_prompt"),
      max_completion=max_completion or config.get("data.max_completion"),
      batch_size=batch_size,
    )
    grouped = table.summary.form in ("pairs", "groups", "ultrafeedback")
    return found if grouped else found[:, 0]

  def held_out(self) -> list[Prompt]:
    """The distinct prompts that its run holds out, as `generate` takes them.

    Raises:
      UserError: where the run held none out.
    """
    return list(held_out.prompts(self.folder))

  @property
  def metrics(self) -> dict[str, float]:
    """The last held-out metrics up to its step; {} where none were logged."""
    return held_out_metrics(self.folder, self.step)

  def row(
    self,
    *,
    track: str = board_row.TRACK,
    scenario: str | None = None,
    seed: int | None = None,
    label: str | None = None,
    metrics: Mapping[str, Any] | None = None,
  ) -> Row:
    """Its row of a leaderboard, from what the run folder says.

    Budget, seconds and memory are the whole run's, as `cost.json` has them;
    metrics are the held-out ones of its step, and curves those of all steps.

    Args:
      track: the board.
      scenario: what is compared; default: the name of the training data.
      seed: default: the run's.
      label: the name on the board; default: the loss's spec.
      metrics: more of them, name -> a number, or what `win_rates` returns,
        whose interval and folds are taken too: metrics={"win_vs_sft": found};
        and the outcomes of its prompts, 20,000 at most, where all that are
        given are of the same prompts.

    Raises:
      UserError: where the run has not recorded what it cost, or a value is
        not as `Row` wants it.
    """
    pretrained.refuse(self.about, "row of a leaderboard")
    return board_row.make(
      self.folder,
      self.about,
      self.step,
      self.loss,
      track=track,
      scenario=scenario,
      seed=seed,
      label=label,
      metrics=metrics,
    )

  def export(
    self,
    out: str | pathlib.Path,
    *,
    adapter: bool = False,
    dtype: str = "float32",
    max_shard_size: int = exporting.MAX_SHARD_SIZE,
    verbose: bool = True,
  ) -> None:
    """Writes it as a model folder that `transformers`, or `peft`, reads.

    A run that trained a reward model is written as a classifier of one label,
    which `AutoModelForSequenceClassification` reads; README.md in the folder
    says what text it scores. `generation_config.json` and `config.json` name
    every token that ended a completion in training.

    Args:
      out: a new folder; it is there whole or not at all.
      adapter: write what LoRA trained alone, and not merged.
      dtype: of the file's weights: "float32" or "bfloat16".
      max_shard_size: bytes above which there is more than one file of
        weights; an adapter is always one.
      verbose: says what stays in the run folder, and what a user of `peft`
        has to know.

    Raises:
      UserError: where the model is none of Hugging Face's, or `out` is not
        empty; where weights are to be merged that are not there any more, or
        an adapter to be written that was not trained; where it is a reward
        model that no classifier of `transformers` computes.
    """
    pretrained.refuse(self.about, "training to export")
    said = exporting.write(
      self.folder,
      self.about,
      self.step,
      pathlib.Path(out),
      params=None if adapter else lambda: self.params,
      dtype=dtype,
      max_shard_size=max_shard_size,
    )
    for sentence in said if verbose else ():
      hosts.say(sentence)


def _say(sentences: Sequence[str], verbose: bool) -> None:
  for sentence in filter(None, sentences if verbose else ()):
    hosts.say(sentence)


def conversations(prompts: Iterable[Any]) -> list[Prompt]:
  """Prompts as the sampler takes them: text, or (role, content) turns.

  >>> conversations(["Hi", [{"role": "user", "content": "Hi"}]])
  ['Hi', (('user', 'Hi'),)]

  Args:
    prompts: see `Policy.generate`.

  Raises:
    UserError: naming the first that is neither.
  """
  if isinstance(prompts, str):
    raise UserError(
      f"prompts is one text, {prompts[:40]!r}: give a list of prompts"
    )
  made: list[Prompt] = []
  for number, prompt in enumerate(prompts):
    if isinstance(prompt, str):
      made.append(prompt)
      continue
    turns = [_turn(turn) for turn in prompt] if _is_list(prompt) else []
    if not turns or None in turns:
      raise UserError(
        f"prompt {number} is neither text nor a conversation: give a list of "
        f"{{'role': ..., 'content': ...}}, not {str(prompt)[:60]!r}"
      )
    made.append(tuple(turn for turn in turns if turn is not None))
  if not made:
    raise UserError("there is no prompt to complete")
  return made


def _is_list(prompt: Any) -> bool:
  return isinstance(prompt, Sequence | np.ndarray)


def _turn(turn: Any) -> tuple[str, str] | None:
  if isinstance(turn, dict):
    turn = (turn.get("role"), turn.get("content"))
  if not isinstance(turn, tuple) or len(turn) != 2:
    return None
  role, content = turn
  return (role, content) if type(role) is type(content) is str else None
