"""Variables of chat templates: read, refused, and part of the template."""

import chat_cases
import pytest

from offalign.data import Message, Tokenizer
from offalign.data.text import template_vars
from offalign.data.text.chat_template import ChatTemplate
from offalign.errors import UserError

ASK = (Message("user", "x"),)


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("enable_thinking=false", {"enable_thinking": False}),
    (
      " a = true , b=null,c=False,d=None",
      {"a": True, "b": None, "c": False, "d": None},
    ),
    ('a="x, b=1",b=[1, {"c": "d,e"}]', {"a": "x, b=1", "b": [1, {"c": "d,e"}]}),
    (
      "effort=high,day=26 Jul 2024,n=-1.5e3",
      {"effort": "high", "day": "26 Jul 2024", "n": -1500.0},
    ),
    ("a=NaN,b=007", {"a": "NaN", "b": "007"}),
  ],
)
def test_values(text, expected):
  assert template_vars.parse(text) == expected


@pytest.mark.parametrize(
  "text",
  [
    "",
    "a",
    "a=",
    "=1",
    "a=1,a=2",
    "a=[1",
    'a="x',
    "a=1,,b=2",
    "1a=2",
    "a=" + "[" * 100_000,
  ],
)
def test_what_cannot_be_read(text):
  with pytest.raises(UserError, match="template_vars="):
    template_vars.parse(text)


@pytest.mark.parametrize(
  "value",
  [
    True,
    False,
    None,
    3,
    -1.5e-9,
    "",
    "é😀 \"'\\ \n{{ x }}{% y %}",
    [1, ["a"]],
    {"a": {"b": None}},
  ],
)
def test_a_value_is_what_the_template_sees(value):
  source = "  {{ x | tojson }}|{% if x is defined %}{{ x }}{% endif %}\n"
  fixed = ChatTemplate(template_vars.fix(source, {"x": value}), {})
  given = ChatTemplate(source, {"x": value})
  assert fixed.render(ASK, add_generation_prompt=True) == given.render(
    ASK, add_generation_prompt=True
  )


@pytest.mark.parametrize(
  "start", ["", "\n", "  \n", "{# note #}\n", "{%- if 1 %}"]
)
def test_the_rest_of_the_template_stays_as_it_is(start):
  source = start + "{{ x }}" + ("{% endif %}" if "if" in start else "")
  fixed = ChatTemplate(template_vars.fix(source, {"x": 1}), {})
  given = ChatTemplate(source, {"x": 1})
  assert fixed.render(ASK, add_generation_prompt=True) == given.render(
    ASK, add_generation_prompt=True
  )


def test_a_variable_in_a_macro_and_one_with_a_default_of_the_template():
  values = {"reasoning_effort": "high", "model_identity": "I am."}
  special = {"bos_token": "<s>"}
  fixed = ChatTemplate(
    template_vars.fix(chat_cases.CHANNELS, values), special
  ).render(ASK, add_generation_prompt=True)
  given = ChatTemplate(chat_cases.CHANNELS, special | values).render(
    ASK, add_generation_prompt=True
  )
  assert fixed == given
  assert "Reasoning: high" in fixed
  assert template_vars.names(chat_cases.CHANNELS) == sorted(values)


@pytest.mark.parametrize(
  "source",
  [
    "{{ x }}",
    "{% if x %}1{% endif %}",
    "{% set x = x | default(1) %}{{ x }}",
    "{% set x = x or 1 %}{{ x }}",
    "{% set x = x if x is defined else 1 %}{{ x }}",
    "{% if not x is defined %}{% set x = 1 %}{% endif %}{{ x }}",
    "{% macro f(a) %}{{ a }}{{ x }}{% endmacro %}{{ f(1) }}",
  ],
)
def test_names_that_are_left_to_others(source):
  loop = "{% for m in messages %}{% set y = m %}{{ y }}{{ m }}{% endfor %}"
  assert template_vars.names(loop + source) == ["x"]
  assert template_vars.names(loop) == []


@pytest.mark.parametrize(
  "name",
  [
    "messages",
    "tools",
    "add_generation_prompt",
    "bos_token",
    "enable_thought",
    "raise_exception",
    "namespace",
    "loop",
    "ns",
  ],
)
def test_what_no_template_reads_is_refused(name):
  with pytest.raises(UserError, match=f"no variable '{name}'.*enable_thinking"):
    template_vars.check([chat_cases.THINKING, "{{ x }}"], {name: 1})


def test_a_tokenizer_with_variables_keeps_them(tmp_path):
  chat_cases.write(
    tmp_path / "a", chat_cases.THINKING, added=chat_cases.THINKING_TOKENS
  )
  plain = Tokenizer.load(tmp_path / "a")
  quiet = plain.with_template_vars("enable_thinking=false")
  (ids,), _ = quiet.encode_prompts([ASK])
  (short,), _ = plain.encode_prompts([ASK])
  block = quiet._backend.decode(
    ids[len(short) :].tolist(), skip_special_tokens=False
  )
  assert block == "<think>\n\n</think>\n\n"
  assert quiet.fingerprint != plain.fingerprint
  quiet.save(tmp_path / "b")
  again = Tokenizer.load(tmp_path / "b")
  assert again.fingerprint == quiet.fingerprint
  # Given once more, for a run that goes on from another.
  other = again.with_template_vars("enable_thinking=true")
  assert other.encode_prompts([ASK])[0][0].tolist() == short.tolist()


def test_without_a_template_there_is_nothing_to_set():
  with pytest.raises(UserError, match="has no chat template to read it"):
    Tokenizer.byte().with_template_vars("enable_thinking=false")


def test_an_exported_template_does_the_same_in_transformers(tmp_path):
  transformers = pytest.importorskip("transformers")
  chat_cases.write(tmp_path / "a", chat_cases.THINKING)
  ours = Tokenizer.load(tmp_path / "a").with_template_vars(
    "enable_thinking=false"
  )
  ours.save(tmp_path / "b")
  theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "b")
  before = transformers.AutoTokenizer.from_pretrained(tmp_path / "a")
  talk = [chat_cases.user("x")]
  how = {"tokenize": False, "add_generation_prompt": True}
  quiet = before.apply_chat_template(talk, enable_thinking=False, **how)
  assert theirs.apply_chat_template(talk, **how) == quiet
  assert theirs.apply_chat_template(talk, enable_thinking=True, **how) == (
    before.apply_chat_template(talk, **how)
  )
