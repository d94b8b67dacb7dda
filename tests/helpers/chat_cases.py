"""Chat templates in the manner of well-known ones, and small tokenizers."""

import json
import string

import tokenizers
from tokenizers import (
  Regex,
  decoders,
  models,
  pre_tokenizers,
  processors,
  trainers,
)

from offalign.data import Message

CHATML = """{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' +
m['content'] + '<|im_end|>' + '\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

LLAMA = """{{- bos_token }}
{%- for m in messages %}
  {{- '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\n\n' }}
  {{- m.content | trim ~ '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
  {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""

GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}
{{ raise_exception('System role not supported') }}{% endif %}
{% for m in messages %}
{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Roles must alternate') }}
{% endif %}
{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}
{{ '<start_of_turn>' + role + '\n' + m['content'] | trim +
'<end_of_turn>\n' }}{% endfor %}
{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"""

MISTRAL = """{%- set ns = namespace(system='') %}{{- bos_token }}
{%- for m in messages %}
  {%- if m.role == 'system' %}
    {%- set ns.system = m.content + '\n\n' %}
    {%- continue %}
  {%- endif %}
  {%- if m.role == 'user' %}
    {{- '[INST] ' + ns.system + m.content + ' [/INST]' }}
    {%- set ns.system = '' %}
  {%- else %}
    {{- ' ' + m.content + eos_token }}
  {%- endif %}
{%- endfor %}"""

QWEN = """{%- if tools %}{{- tools | tojson }}{%- endif %}
{%- if messages[0].role != 'system' %}
  {{- '<|im_start|>system\nYou help.<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(last=0) %}
{%- for m in messages[::-1] %}
  {%- if m.role == 'user' %}
    {%- set ns.last = messages | length - loop.index %}
    {%- break %}
  {%- endif %}
{%- endfor %}
{%- for m in messages %}
  {{- '<|im_start|>' + m.role + '\n' }}
  {%- if m.role == 'assistant' %}
    {%- set said = m.content.split('</think>')[-1].lstrip('\n') %}
    {%- if loop.index0 > ns.last %}{{- '<think>\n\n</think>\n\n' }}{% endif %}
    {{- said }}
  {%- elif m.content is string %}
    {{- m.content }}
  {%- endif %}
  {{- '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
  {{- '<|im_start|>assistant\n' }}
{%- endif %}"""

TEMPLATES = {
  "chatml": CHATML,
  "llama": LLAMA,
  "gemma": GEMMA,
  "mistral": MISTRAL,
  "qwen": QWEN,
}
ENDS = {
  "chatml": "<|im_end|>",
  "llama": "<|eot_id|>",
  "gemma": "<end_of_turn>",
  "mistral": "</s>",
  "qwen": "<|im_end|>",
}
SPECIALS = [
  "<unk>",
  "<s>",
  "</s>",
  "<|im_start|>",
  "<|im_end|>",
  "<|start_header_id|>",
  "<|end_header_id|>",
  "<|eot_id|>",
  "<start_of_turn>",
  "<end_of_turn>",
]
_CORPUS = [
  "user system assistant model [INST] [/INST] You help.",
  "What is the sum of two and two? It is four, né café 漢字 don't.",
  "  two  spaces\n\nand lines\n 0123456789 the cat sat on the mat",
] * 4

TALKS = [
  ([("user", "What is the sum?")], "four"),
  (
    [("user", " né 漢字\n"), ("assistant", "cat\n\n"), ("user", "two")],
    "  é\n",
  ),
  (
    [("user", "a"), ("assistant", "b</think>c"), ("user", "don't")],
    "<think>\nsum\n</think>\n\nIt is 4.",
  ),
  ([("system", "You help."), ("user", "the cat")], "sat on the mat"),
]


def messages(turns):
  return tuple(Message(*turn) for turn in turns)


def dicts(turns):
  return [{"role": role, "content": content} for role, content in turns]


def backend(kind, *, bos):
  """A tokenizer of bytes, as GPT-2's, or of word pieces, as Llama 2's."""
  made = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
  alphabet = sorted({*"".join(_CORPUS), *string.printable})
  if kind == "bytes":
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
      [
        pre_tokenizers.Split(
          Regex(r"'[a-z]+|\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"),
          behavior="isolated",
        ),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
      ]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
  else:
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    made.decoder = decoders.Metaspace(prepend_scheme="first")
  trainer = trainers.BpeTrainer(
    vocab_size=420,
    special_tokens=SPECIALS,
    initial_alphabet=alphabet,
    show_progress=False,
  )
  made.train_from_iterator(_CORPUS, trainer)
  if bos:
    made.post_processor = processors.TemplateProcessing(
      single="<s> $A", special_tokens=[("<s>", 1)]
    )
  return made


def write(folder, template=None, kind="bytes", *, bos=True, **config):
  """A tokenizer's folder, as transformers writes it."""
  folder.mkdir(parents=True, exist_ok=True)
  backend(kind, bos=bos).save(str(folder / "tokenizer.json"))
  about = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "</s>",
  }
  (folder / "tokenizer_config.json").write_text(json.dumps(about | config))
  if template is not None:
    (folder / "chat_template.jinja").write_text(template)
  return folder
