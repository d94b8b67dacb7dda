"""Write the token ids of config.json and generation_config.json.

`transformers` ends a completion at what these files say and not at what the
tokenizer says, so that an exported folder must name there every token that
ended a completion in training.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from offalign.errors import UserError
from offalign.models.hf.folder import GENERATION

_OF_A_VOCABULARY = (
  "bad_words_ids",
  "begin_suppress_tokens",
  "bos_token_id",
  "cls_token_id",
  "forced_bos_token_id",
  "forced_eos_token_id",
  "mask_token_id",
  "sep_token_id",
  "sequence_bias",
  "suppress_tokens",
  "unk_token_id",
)
"""Keys that hold ids, but for those that are always written."""

_FROM_CONFIG = (
  *_OF_A_VOCABULARY,
  "decoder_start_token_id",
  "diversity_penalty",
  "do_sample",
  "early_stopping",
  "encoder_no_repeat_ngram_size",
  "exponential_decay_length_penalty",
  "length_penalty",
  "max_length",
  "min_length",
  "no_repeat_ngram_size",
  "num_beam_groups",
  "num_beams",
  "num_return_sequences",
  "remove_invalid_values",
  "repetition_penalty",
  "temperature",
  "top_k",
  "top_p",
  "typical_p",
)
"""Keys of config.json that count where there is no generation_config.json."""


@dataclasses.dataclass(frozen=True)
class TokenIds:
  """The ids of a run's tokenizer that a model folder names.

  Attributes:
    ends: what may end a completion, at least one.
    pad: fills what masks hide.
    bos: begins a text, or None.
    foreign: whether the tokenizer is another than the model came with, so
      that other ids in the model's files are of another vocabulary.
    start: what a decoder behind an encoder begins with; None for a decoder.
  """

  ends: tuple[int, ...]
  pad: int
  bos: int | None
  foreign: bool
  start: int | None = None

  @property
  def eos(self) -> int | list[int]:
    """The ends as these files write them: an id, or a list of several."""
    return self.ends[0] if len(self.ends) == 1 else list(self.ends)

  def put(self, config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of either parsed file, with the ids."""
    made = dict(config)
    if self.foreign:
      made = {k: v for k, v in made.items() if k not in _OF_A_VOCABULARY}
      if self.bos is not None:
        made["bos_token_id"] = self.bos
    made |= {"eos_token_id": self.eos, "pad_token_id": self.pad}
    if self.start is not None:
      made["decoder_start_token_id"] = self.start
    return made


def read_generation(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
  """What `transformers` generates by: the folder's file, or else its config.

  Args:
    folder: may hold a generation_config.json.
    config: the parsed config.json.

  Raises:
    UserError: where the file is no JSON object.
  """
  file = folder / GENERATION
  if not file.is_file():
    return {k: config[k] for k in _FROM_CONFIG if config.get(k) is not None}
  try:
    found = json.loads(file.read_text(encoding="utf-8"))
  except (ValueError, RecursionError) as error:
    raise UserError(f"{file} is not JSON ({error})") from None
  if not isinstance(found, dict):
    raise UserError(f"{file} does not hold a JSON object")
  # Set, it would have config.json decide again.
  found.pop("_from_model_config", None)
  return found


def write_generation(
  folder: Path, generation: Mapping[str, Any], ids: TokenIds
) -> None:
  """Writes generation_config.json, with the ids."""
  text = json.dumps(ids.put(generation), indent=2) + "\n"
  (folder / GENERATION).write_text(text, encoding="utf-8")
