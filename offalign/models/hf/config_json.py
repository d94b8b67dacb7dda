"""Read config.json so that no key goes unnoticed.

Every key is read, required to have the one value that is implemented, or on a
list of those that change nothing; any other is refused by name, with the
option that leaves it out of account. So no option of a checkpoint is silently
dropped.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from offalign.errors import UserError, option, printable, suggest

_REQUIRED: Any = object()
_LARGEST = 2**31 - 1  # of a size
_MOST_LAYERS = 10_000  # each has tensors, all of which are named at once

_NO_EFFECT = """
_attn_implementation _attn_implementation_autoset _attn_implementation_internal
_commit_hash _num_labels _flash_attn_2_enabled _model_name_or_path _name_or_path
attention_dropout attn_implementation attn_pdrop bad_words_ids
begin_suppress_tokens bos_token_id cache_implementation chunk_size_feed_forward
diversity_penalty do_sample dropout dropout_rate dtype early_stopping embd_pdrop
encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty
finetuning_task flash_attn flash_attention forced_bos_token_id
forced_eos_token_id gradient_checkpointing hidden_dropout
hidden_dropout_prob id2label initializer_factor initializer_range is_composition
is_llama_config label2id length_penalty mask_token_id max_length max_seq_len
max_sequence_length max_position_embeddings min_length model_max_length
model_name n_ctx n_positions neftune_noise_alpha no_repeat_ngram_size
num_beam_groups num_beams num_labels num_return_sequences output_attentions
output_hidden_states output_past output_scores pad_token_id padding_side prefix
pretraining_tp problem_type remove_invalid_values repetition_penalty
resid_pdrop return_dict return_dict_in_generate sep_token_id seq_length
summary_activation summary_first_dropout summary_proj_to_labels summary_type
summary_use_proj suppress_tokens task_specific_params temperature
tf_legacy_loss tokenizer_class top_k top_p torch_dtype torchscript
transformers.js_config transformers_version typical_p unk_token_id
unsloth_fixed unsloth_version use_bfloat16 use_cache use_flash_attention
use_flash_attention_2 use_flash_attn
"""

IRRELEVANT = frozenset(_NO_EFFECT.split())
"""Keys of any family that do not change what a forward pass computes.

Dropout and noise of training are among them: models here are trained without.
So are options of generation, which belong to whoever generates, the dtype and
length that a checkpoint was trained at, heads for classification, and who
wrote the file.
"""

_OFF: dict[str, tuple[Any, ...]] = {
  "attention_bias": (False,),
  "clip_qkv": (0, 0.0),
  "embedding_multiplier": (1, 1.0),
  "logit_scale": (1, 1.0),
  "logits_scaling": (1, 1.0),
  "mlp_bias": (False,),
  "partial_rotary_factor": (1, 1.0),
  "qk_norm": (False,),
  "residual_multiplier": (1, 1.0),
  "rope_interleaved": (False,),
  "rotary_pct": (1, 1.0),
  "use_qk_norm": (False,),
  "use_sliding_window": (False,),
}
"""Keys that matter, and the values at which they change nothing."""

IGNORED = "offalign_ignore"
"""Key that a run adds: names of the keys that its user left out of account."""


def ignoring(
  raw: dict[str, Any], names: str | None, where: str = "config.json"
) -> dict[str, Any]:
  """Marks keys of a parsed config.json as left out of account.

  Args:
    raw: the parsed file.
    names: the keys, with commas; None for none.
    where: the file's name, for errors.

  Returns:
    The file with the names under `IGNORED`, which goes where it is copied.

  Raises:
    UserError: for a name that the file does not have.
  """
  if names is None:
    return raw
  keys = [name.strip() for name in names.split(",") if name.strip()]
  for key in keys or [""]:
    if key not in raw:
      raise UserError(
        f"{option('model_ignore', names)}: {where} has no key {key!r}"
        f"{suggest(key, raw)}"
      )
  return raw | {IGNORED: sorted({*keys, *raw.get(IGNORED, ())})}


class ConfigJson:
  """A parsed config.json that remembers which keys were read."""

  def __init__(
    self,
    raw: Mapping[str, Any],
    where: str = "config.json",
    *,
    nested: bool = False,
  ):
    """Takes the parsed file, or one of its objects.

    Args:
      raw: the parsed file.
      where: its name in errors.
      nested: whether it is an object in the file, whose keys cannot be left
        out of account one by one.
    """
    self.where = where
    self._nested = nested
    ignored = raw.get(IGNORED) or []
    if not isinstance(ignored, list) or not all(
      isinstance(key, str) for key in ignored
    ):
      self.refuse(IGNORED, ignored, "is not a list of keys")
    self._raw = {k: v for k, v in raw.items() if k not in (IGNORED, *ignored)}
    self._seen: set[str] = set()

  def take(self, key: str, default: Any = _REQUIRED) -> Any:
    """Returns a key's value, or the default if it is missing or null.

    Raises:
      UserError: if it is missing or null and there is no default.
    """
    self._seen.add(key)
    value = self._raw.get(key)
    if value is not None:
      return value
    if default is _REQUIRED:
      raise UserError(f"{self.where} lacks {key!r}, which this model needs")
    return default

  def nullable(self, key: str, default: float | None) -> Any:
    """Like `number`, but null gives None; only a missing key the default."""
    return self.number(key, None if key in self._raw else default)

  def number(self, key: str, default: Any = _REQUIRED) -> Any:
    """Like `take`, for a positive number."""
    value = self.take(key, default)
    if value is None:
      return None
    if isinstance(value, bool) or not isinstance(value, int | float):
      self.refuse(key, value, "must be a number")
    if not value > 0:
      self.refuse(key, value, "must be above 0")
    if value == math.inf:
      self.refuse(key, value, "must be finite")
    return value

  def size(self, key: str, default: Any = _REQUIRED) -> Any:
    """Like `number`, for a whole number."""
    value = self.number(key, default)
    if value is not None and not isinstance(value, int):
      self.refuse(key, value, "must be a whole number")
    most = _MOST_LAYERS if "layer" in key else _LARGEST
    if value is not None and value > most:
      self.refuse(key, value, f"must be at most {most:,}")
    return value

  def flag(self, key: str, default: Any = _REQUIRED) -> bool:
    """Like `take`, for true or false."""
    value = self.take(key, default)
    if not isinstance(value, bool):
      self.refuse(key, value, "must be true or false")
    return value

  def choice(
    self, key: str, known: Mapping[str, Any], default: Any = _REQUIRED
  ) -> Any:
    """Like `take`, for a name in `known`; returns the value it stands for."""
    value = self.take(key, default)
    if not isinstance(value, str) or value not in known:
      self.refuse(key, value, f"is not one of {', '.join(known)}")
    return known[value]

  def only(self, key: str, *values: Any) -> None:
    """Requires a key to be missing, null or one of `values`."""
    value = self.take(key, None)
    if value is not None and value not in values:
      implemented = " or ".join(repr(v) for v in values) or "null"
      self.refuse(key, value, f"is not implemented, only {implemented} is")

  def architectures(self, *names: str) -> None:
    """Requires the classes of transformers to be one of `names`, if given."""
    held = self.take("architectures", None)
    if isinstance(held, list) and any(
      str(each).endswith("ForSequenceClassification") for each in held
    ):
      self.refuse(
        "architectures",
        held,
        "is a classifier, such as an exported reward model, and has no head "
        "for tokens: name the language model that it was made from, or the run "
        f"that trained it, {option('init')}",
      )
    self.only("architectures", *([name] for name in names))

  def refuse(self, key: str, value: Any, why: str) -> None:
    """Raises UserError about the value of a key."""
    raise UserError(f"{self.where}: {key}={value!r} {why}")

  def finish(self, irrelevant: Iterable[str] = ()) -> None:
    """Refuses keys that are not null and were not read.

    Args:
      irrelevant: more keys that change nothing, beside `IRRELEVANT`.

    Raises:
      UserError: names every such key.
    """
    known = self._seen | IRRELEVANT | set(irrelevant)
    left = sorted(
      key
      for key, value in self._raw.items()
      if key not in known and value is not None and value not in _off(key)
    )
    if left:
      named = ", ".join(
        f"{key}={printable(repr(self._raw[key]))}" for key in left
      )
      what = f"{self.where} has options that are not implemented: {named}"
      if self._nested:
        raise UserError(what)
      raise UserError(
        f"{what}; where you know that they change nothing of what the model "
        f"computes, {option('model_ignore', ','.join(left))} leaves them out "
        "of account"
      )


def _off(key: str) -> tuple[Any, ...]:
  return _OFF.get(key, ())
