"""A tokenizer, scored completions and short runs, for runs from folders."""

import json

import jax
import numpy as np
import tokenizers

from offalign.config import Config
from offalign.config.config import DataConfig
from offalign.distributed.sharding import MeshConfig
from offalign.learner.optim import OptimizerConfig

WORDS = [f"w{i}" for i in range(30)]


def write_tokenizer(folder):
  """Words, laid out as T5 does: pad 0, EOS 1 after every prompt."""
  vocab = {w: i for i, w in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
  backend = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(vocab, unk_token="<unk>")
  )
  backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  backend.add_special_tokens(["<pad>", "</s>", "<unk>"])
  backend.post_processor = tokenizers.processors.TemplateProcessing(
    single="$A </s>", special_tokens=[("</s>", 1)]
  )
  backend.save(str(folder / "tokenizer.json"))
  config = {
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "tokenizer_class": "PreTrainedTokenizerFast",
  }
  (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_data(file):
  """Scored completions."""
  rng = np.random.default_rng(0)

  def words(n):
    return " ".join(rng.choice(WORDS, n))

  rows = [
    {
      "prompt": words(5),
      "completion": words(4),
      "reward": round(float(rng.normal()), 3),
    }
    for _ in range(24)
  ]
  file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def config(data, out, **changed):
  return Config(
    loss="dro_v",
    out=str(out),
    steps=3,
    batch_size=8,
    data=DataConfig(path=str(data), eval_fraction=0.0),
    optimizer=OptimizerConfig(learning_rate=1e-2),
    mesh=MeshConfig(data=4, fsdp=2),
    **changed,
  )


def rows():
  rng = np.random.default_rng(1)
  return (
    rng.integers(2, 33, (2, 6)).astype(np.int32),
    np.ones((2, 6), bool),
    rng.integers(2, 33, (2, 1, 5)).astype(np.int32),
    np.ones((2, 1, 5), bool),
  )


def logits(model, params):
  hidden = jax.jit(model.hidden)(params, *rows())
  return np.asarray(hidden.completions @ model.unembedding(params))[:, 0]
