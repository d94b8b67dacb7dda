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

THINKING = """{%- if tools %}
  {{- '<|im_start|>system\n<tools>' }}
  {%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}
  {{- '\n</tools><|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(last=0) %}
{%- for m in messages %}
  {%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}
{%- endfor %}
{%- for m in messages %}
  {%- if m.role == 'tool' %}
    {{- '<|im_start|>user\n<tool_response>\n' + m.content }}
    {{- '\n</tool_response><|im_end|>\n' }}
    {%- continue %}
  {%- endif %}
  {{- '<|im_start|>' + m.role + '\n' }}
  {%- set content, thought = m.content, m.reasoning_content or '' %}
  {%- if m.role == 'assistant' and not thought and '</think>' in content %}
    {%- set thought = content.split('</think>')[0].split('<think>')[-1] %}
    {%- set content = content.split('</think>')[-1].lstrip('\n') %}
  {%- endif %}
  {%- if m.role == 'assistant' and loop.index0 > ns.last
      and (loop.last or thought) %}
    {{- '<think>\n' + thought.strip('\n') + '\n</think>\n\n' }}
  {%- endif %}
  {{- content }}
  {%- for call in m.tool_calls or [] %}
    {%- set call = call.function or call %}
    {%- if content or not loop.first %}{{- '\n' }}{%- endif %}
    {{- '<tool_call>\n{"name": "' + call.name + '", "arguments": ' }}
    {{- call.arguments if call.arguments is string else call.arguments|tojson }}
    {{- '}\n</tool_call>' }}
  {%- endfor %}
  {{- '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
  {{- '<|im_start|>assistant\n' }}
  {%- if enable_thinking is defined and enable_thinking is false %}
    {{- '<think>\n\n</think>\n\n' }}
  {%- endif %}
{%- endif %}"""
"""In the manner of Qwen 3: tools, reasoning of the last turn, a variable."""

CHANNELS = """{%- macro kind(spec) -%}
  {%- if spec.type == 'array' -%}{{ kind(spec['items']) + '[]' }}
  {%- elif spec.enum is defined -%}{{ '"' + spec.enum|join('" | "') + '"' }}
  {%- else -%}{{ spec.type }}{%- endif -%}
{%- endmacro -%}
{%- macro namespace_of(tools) -%}
  {{- '## functions\n\nnamespace functions {\n\n' }}
  {%- for tool in tools %}
    {%- set tool = tool.function %}
    {{- '// ' + tool.description + '\ntype ' + tool.name + ' = (_: {\n' }}
    {%- for name, spec in tool.parameters.properties.items() %}
      {{- name + ('' if name in tool.parameters.required else '?') }}
      {{- ': ' + kind(spec) + ',\n' }}
    {%- endfor %}
    {{- '}) => any;\n\n' }}
  {%- endfor %}
  {{- '} // namespace functions' }}
{%- endmacro -%}
{%- macro system() -%}
  {%- if model_identity is not defined %}
    {%- set model_identity = 'You are a model.' %}
  {%- endif %}
  {{- model_identity + '\nCurrent date: ' + strftime_now('%Y-%m-%d') }}
  {%- if reasoning_effort is not defined %}
    {%- set reasoning_effort = 'medium' %}
  {%- endif %}
  {{- '\n\nReasoning: ' + reasoning_effort + '\n\n' }}
  {{- '# Valid channels: analysis, commentary, final.' }}
{%- endmacro -%}
{{- '<|start|>system<|message|>' }}{{- system() }}{{- '<|end|>' }}
{%- if messages[0].role == 'developer' or messages[0].role == 'system' %}
  {%- set developer_message = messages[0].content %}
  {%- set loop_messages = messages[1:] %}
{%- else %}
  {%- set developer_message = '' %}
  {%- set loop_messages = messages %}
{%- endif %}
{%- if developer_message or tools %}
  {{- '<|start|>developer<|message|>' }}
  {%- if developer_message %}
    {{- '# Instructions\n\n' + developer_message + '\n\n' }}
  {%- endif %}
  {%- if tools -%}{{- '# Tools\n\n' + namespace_of(tools) }}{%- endif -%}
  {{- '<|end|>' }}
{%- endif %}
{%- set last_tool_call = namespace(name=none) %}
{%- for message in loop_messages -%}
  {%- if message.role == 'assistant' -%}
    {%- if 'content' in message and
        '<|channel|>final<|message|>' in message.content %}
      {{- raise_exception('write channels into other fields') }}
    {%- endif %}
    {%- if 'tool_calls' in message %}
      {%- set later = namespace(found=false) %}
      {%- for other in loop_messages[loop.index:] %}
        {%- if other.role == 'assistant' and 'tool_calls' not in other %}
          {%- set later.found = true %}
        {%- endif %}
      {%- endfor %}
      {%- set tool_call = message.tool_calls[0] %}
      {%- if tool_call.function %}
        {%- set tool_call = tool_call.function %}
      {%- endif %}
      {%- if message.content and message.thinking %}
        {{- raise_exception('cannot write both content and thinking') }}
      {%- elif message.thinking and not later.found %}
        {{- '<|start|>assistant<|channel|>analysis<|message|>' }}
        {{- message.thinking + '<|end|>' }}
      {%- endif %}
      {{- '<|start|>assistant to=functions.' + tool_call.name }}
      {{- '<|channel|>commentary json<|message|>' }}
      {{- tool_call.arguments|tojson + '<|call|>' }}
      {%- set last_tool_call.name = tool_call.name %}
    {%- elif loop.last and not add_generation_prompt %}
      {%- if 'thinking' in message %}
        {{- '<|start|>assistant<|channel|>analysis<|message|>' }}
        {{- message.thinking + '<|end|>' }}
      {%- endif %}
      {{- '<|start|>assistant<|channel|>final<|message|>' }}
      {{- message.content + '<|return|>' }}
    {%- else %}
      {{- '<|start|>assistant<|channel|>final<|message|>' }}
      {{- message.content + '<|end|>' }}
      {%- set last_tool_call.name = none %}
    {%- endif %}
  {%- elif message.role == 'tool' -%}
    {%- if last_tool_call.name is none %}
      {{- raise_exception('no tool was called') }}
    {%- endif %}
    {{- '<|start|>functions.' + last_tool_call.name }}
    {{- ' to=assistant<|channel|>commentary<|message|>' }}
    {{- message.content|tojson + '<|end|>' }}
  {%- else -%}
    {{- '<|start|>user<|message|>' + message.content + '<|end|>' }}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|start|>assistant
{%- endif -%}"""
"""In the manner of gpt-oss: macros, the date, channels, a call's own end."""

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


THINKING_TOKENS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
CHANNEL_TOKENS = [
  "<|start|>",
  "<|end|>",
  "<|message|>",
  "<|channel|>",
  "<|return|>",
  "<|call|>",
]

TOOL = {
  "type": "function",
  "function": {
    "name": "weather",
    "description": "Weather of a <city>, né.",
    "parameters": {
      "type": "object",
      "properties": {
        "city": {"type": "string", "description": "where"},
        "days": {"type": "array", "items": {"type": "number"}},
      },
      "required": ["city"],
    },
  },
}
CALL = {
  "type": "function",
  "id": "call00001",
  "function": {"name": "weather", "arguments": {"city": "Zürich"}},
}
SAID = {
  "role": "tool",
  "tool_call_id": "call00001",
  "name": "weather",
  "content": '{"degrees": 3}',
}


def user(content):
  return {"role": "user", "content": content}


def reply(content, **more):
  return {"role": "assistant", "content": content, **more}


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


def write(folder, template=None, kind="bytes", *, bos=True, added=(), **config):
  """A tokenizer's folder, as transformers writes it.

  `added` tokens are in the vocabulary and not special.
  """
  folder.mkdir(parents=True, exist_ok=True)
  made = backend(kind, bos=bos)
  made.add_tokens(list(added))
  made.save(str(folder / "tokenizer.json"))
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
