"""The model of a planned run: from its config.json, its spec, or its parent."""

import pathlib

from offalign import models
from offalign.config import Config
from offalign.data import make_tokenizer
from offalign.data.text import byte_level
from offalign.errors import concerning, option, within
from offalign.models.base import Model
from offalign.planning import from_config
from offalign.policy import start


def model_of(run: Config) -> Model:
  """Builds the model that a run would train, without weights.

  A new model has as many tokens as its tokenizer; one that is trained on the
  data may turn out smaller than the size that is asked for, which is planned.

  Raises:
    UserError: as a run, where there is no such model.
  """
  name = run.model
  named = name is not None and not _is_spec(name)
  if named and run.init is None and run.init_step is None:
    return from_config.model_of(name or "", run.model_ignore)
  parent = start.find_parent(run)
  if parent is not None:
    return start.model_of(parent.folder, parent.about)
  vocabulary = _vocabulary(run)
  with concerning(option("model")):
    return models.make(name or start.MODEL, vocab_size=vocabulary)


def _is_spec(name: str) -> bool:
  """Whether a name is a new model's, such as `decoder(width=64)`."""
  if name in models.names():
    return True
  called = "(" in name or (":" in name and "/" not in name)
  return called and not pathlib.Path(name).exists()


def _vocabulary(run: Config) -> int:
  """Tokens of a new model."""
  if run.tokenizer in (None, "bpe"):
    return run.tokenizer_vocab or byte_level.DEFAULT_VOCAB_SIZE
  with concerning(option("tokenizer")), within(vocab_size="tokenizer_vocab"):
    return make_tokenizer(run.tokenizer, (), run.tokenizer_vocab).vocab_size
