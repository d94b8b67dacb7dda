"""Read the end tokens that a model folder names beside its tokenizer.

`transformers` stops a completion at any `eos_token_id` of
generation_config.json, or of config.json where there is no such file. Either
holds one id or a list: Llama 3.1 has three, of which its tokenizer names one.
"""

from collections.abc import Mapping
from typing import Any

import tokenizers

from offalign.errors import UserError

KEY = "eos_token_id"


def ids_of(config: Mapping[str, Any], where: str) -> tuple[int, ...]:
  """The end tokens that a parsed configuration names, in its order.

  >>> ids_of({"eos_token_id": [7, 3, 7]}, "generation_config.json")
  (7, 3)

  Args:
    config: the parsed file.
    where: the file's name, for errors.

  Raises:
    UserError: for a value that is neither an id nor a list of ids.
  """
  given = config.get(KEY)
  if given is None:
    return ()
  listed = given if isinstance(given, list) else [given]
  for each in listed:
    if type(each) is not int or each < 0:
      raise UserError(
        f"{where}: {KEY} is {str(given)[:40]!r}, where the id of a token or a "
        "list of ids belongs; put the ids there, or take the key out"
      )
  return tuple(dict.fromkeys(listed))


def known(
  backend: tokenizers.Tokenizer, ids: tuple[int, ...]
) -> tuple[int, ...]:
  """The ids that are of the tokenizer's vocabulary.

  Others are what a model's configuration holds by default: no text has them.
  """
  size = max(backend.get_vocab().values()) + 1
  return tuple(
    i for i in ids if i < size and backend.id_to_token(i) is not None
  )


def added(backend: tokenizers.Tokenizer, ids: tuple[int, ...]) -> list[str]:
  """The texts of those ids that are added tokens and no ordinary text."""
  tokens = backend.get_added_tokens_decoder()
  return [tokens[i].content for i in ids if i in tokens]
