"""Tiny random model folders of transformers, and runs that were not trained.

The tokenizer is of bytes, with four special tokens that may be given any id.
"""

import json

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from offalign.files import write_json
from offalign.policy import start
from offalign.policy.checkpoint import Checkpoints

PAD, EOS, START, END = "<|pad|>", "<|eos|>", "<|start|>", "<|end|>"
TEMPLATE = (
  "{% for m in messages %}{% if m.role == 'user' %}<|start|>{{ m.content }}\n"
  "{% else %}{{ m.content }}<|end|>\n{% endif %}{% endfor %}"
)
"""Ends replies alone, so that no prompt holds the end."""

_SIZES = {
  "vocab_size": 260,
  "hidden_size": 32,
  "intermediate_size": 48,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "bos_token_id": None,
  "eos_token_id": 1,
  "pad_token_id": 0,
}
CONFIGS = {
  "qwen3": ("Qwen3Config", _SIZES | {"head_dim": 8}),
  "gpt2": (
    "GPT2Config",
    {
      "vocab_size": 260,
      "n_embd": 32,
      "n_layer": 2,
      "n_head": 4,
      "n_positions": 96,
      "bos_token_id": 1,
      "eos_token_id": 1,
    },
  ),
  "t5": (
    "T5Config",
    {
      "vocab_size": 260,
      "d_model": 32,
      "d_kv": 8,
      "d_ff": 48,
      "num_layers": 2,
      "num_heads": 4,
      "eos_token_id": 1,
      "pad_token_id": 0,
      "decoder_start_token_id": 0,
    },
  ),
}


def write_model(folder, family):
  """Writes a random checkpoint; returns the torch model."""
  import torch
  import transformers

  torch.set_num_threads(1)
  torch.manual_seed(3)
  name, options = CONFIGS[family]
  config = getattr(transformers, name)(**options)
  auto = transformers.AutoModelForCausalLM
  if family == "t5":
    auto = transformers.AutoModelForSeq2SeqLM
  model = auto.from_config(config, attn_implementation="eager")
  with torch.no_grad():
    for weight in model.parameters():
      if weight.ndim > 1:
        weight.copy_(0.3 * torch.randn_like(weight))
  model.eval().save_pretrained(folder)
  return model


def write_tokenizer(folder, at=None, template=None, pad=None):
  """Writes a tokenizer.

  Args:
    folder: to write into.
    at: id of END, which trades places with the byte that has it; default: 3.
    template: a chat template.
    pad: the pad token that it names.
  """
  folder.mkdir(parents=True, exist_ok=True)
  alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
  entries = [PAD, EOS, START, END, *alphabet]
  if at is not None:
    entries[3], entries[at] = entries[at], entries[3]
  vocab = {entry: i for i, entry in enumerate(entries)}
  backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[]))
  backend.pre_tokenizer = pre_tokenizers.ByteLevel(
    add_prefix_space=False, use_regex=False
  )
  backend.decoder = decoders.ByteLevel()
  backend.add_special_tokens([PAD, EOS, START, END])
  backend.save(str(folder / "tokenizer.json"))
  config = {"eos_token": EOS, "tokenizer_class": "PreTrainedTokenizerFast"}
  if pad is not None:
    config["pad_token"] = pad
  (folder / "tokenizer_config.json").write_text(json.dumps(config))
  if template is not None:
    (folder / "chat_template.jinja").write_text(template)


def change_json(file, **changes):
  """Sets keys of a file of JSON, which may not be there."""
  known = json.loads(file.read_text()) if file.is_file() else {}
  file.write_text(json.dumps(known | changes))


def keep_untrained(run, change=lambda state: state, keep=1):
  """Leaves a run's folder with a checkpoint of step 0."""
  state = change(run.learner.init(run._first, run.config.seed))
  with Checkpoints(run.folder, keep=keep) as checkpoints:
    checkpoints.save(state, run._about)
  start.keep(run.config, run._parent, run._first)
  run.inputs.tokenizer.save(run.folder / "tokenizer")
  write_json(run.folder / "run.json", run._about)
  return run.folder
