"""Chat templates: what they see, and what they cannot do."""

import chat_cases
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from offalign.data import Message
from offalign.data.text.chat_template import ChatTemplate
from offalign.data.text.sandbox import MAX_CHARACTERS, MAX_STEPS
from offalign.errors import UserError

TALK = (Message("system", "<&"), Message("user", "hé"))


def render(source, *, generation=False, messages=TALK):
  template = ChatTemplate(source, {"bos_token": "<s>"})
  return template.render(messages, add_generation_prompt=generation)


def test_what_a_template_sees():
  source = """{{ bos_token }}{% for m in messages %}
    {%- if m['role'] == 'system' %}{% continue %}{% endif %}
[{{ m.role }}]{{ m.content }}
{% endfor %}
{% if add_generation_prompt %}
[assistant]
{%- endif %}
"""
  assert render(source) == "<s>[user]hé\n"
  assert render(source, generation=True) == "<s>[user]hé\n[assistant]"


def test_json_is_not_escaped_for_html():
  assert render("{{ messages | tojson }}") == (
    '[{"role": "system", "content": "<&"}, {"role": "user", "content": "hé"}]'
  )
  assert render(
    "{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, indent=1) }}"
  ) == ('{\n "a": 2,\n "b": 1\n}')


def test_generation_blocks_write_their_body():
  assert render("a{% generation %}b{% endgeneration %}c") == "abc"


def test_the_date_and_absent_tools():
  assert render("{{ strftime_now('%Y')|int > 2020 }}{{ tools }}") == "TrueNone"


@pytest.mark.parametrize(
  "source",
  [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__class__ }}",
    "{{ dict.__init__.__globals__ }}",
    "{{ raise_exception.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ self.__init__.__globals__ }}",
    "{% do messages.append(1) %}",
    "{{ messages.append(1) }}",
    "{% set messages[0].x = 1 %}",
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ 10 ** (10 ** 10) }}",
    "{{ range(10**9) | list }}",
    "{% for i in range(100000) %}{{ messages[1].content * 1000 }}{% endfor %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}"
    "{% endmacro %}{{ f(50) }}",
    "{% for i in range(99999) %}{% for j in range(99999) %}"
    "{% endfor %}{% endfor %}",
    "{% for a in m %}{% endfor %}".join(["{% set m = 'x' * 999999 %}"] * 3),
    "{% set ns = namespace() %}{% set ns.__x = 1 %}",
    "{{ namespace(__class__=1) }}",
    "{{ messages[0]['__class__'] }}",
    "{{ messages | map(attribute='__class__') | list }}",
    "{% generation %}x",
    "{% include 'x' %}",
    "{{ 1 / 0 }}",
    "{{ messages[9].content.x }}",
    "{{ missing() }}",
  ],
)
def test_a_template_that_should_not_run_is_one_sentence(source):
  with pytest.raises(UserError, match="chat template") as caught:
    assert render(source) == ""
  assert "\n" not in str(caught.value)
  assert len(str(caught.value)) < 500


def test_counted_loops_are_loops_all_the_same():
  source = """
{%- for k, v in {'a': 1, 'b': 2}.items() if v > 1 %}{{ k }}{% endfor %}
{%- for m in messages %}
  {{- loop.index }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}
  {{- loop.previtem is defined }}{{ loop.nextitem is defined }}
{%- endfor %}
{%- for x in missing %}{% else %}none{% endfor %}
{%- for x in [1, [2, [3]]] recursive %}
  {{- loop(x) if x is iterable else x }}
{%- endfor %}
{%- set ns = namespace(n=0) %}
{%- for m in messages[::-1] %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}
{%- for x in dict.fromkeys('ab', 1) %}{{ x }}{% if x %}{% break %}{% endif %}
{%- endfor %}"""
  jinja = ImmutableSandboxedEnvironment(
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=["jinja2.ext.loopcontrols"],
  )
  turns = [message._asdict() for message in TALK]
  expected = jinja.from_string(source).render(messages=turns)
  assert expected.startswith("b1False22FalseTrue2True")
  assert render(source) == expected


def test_steps_are_counted_for_each_conversation_anew():
  half = f"{{% for i in range({MAX_STEPS // 100}) %}}{{% endfor %}}"
  template = ChatTemplate(half * 60, {})
  for _ in range(3):
    template.render(TALK, add_generation_prompt=False)
  with pytest.raises(UserError, match=f"more than {MAX_STEPS:,} steps"):
    render(half * 101)


def test_arithmetic_within_reason_works():
  assert render("{{ '-' * 3 }}{{ 2 ** 10 }}{{ [0] * 2 }}{{ 2 * 3 }}") == (
    "---1024[0, 0]6"
  )


def test_refusals_name_the_roles_and_the_reason():
  with pytest.raises(
    UserError,
    match=r"conversation of system, user: no system turns\.\.\. please$",
  ):
    render("{{ raise_exception('no system\n turns... please') }}")


def test_what_it_writes_is_bounded():
  piece = "x" * 1000
  source = "{% for i in range(100000) %}" + piece + "{% endfor %}"
  with pytest.raises(UserError, match=f"more than {MAX_CHARACTERS:,}"):
    render(source)


def test_a_template_that_is_no_template():
  with pytest.raises(UserError, match="template is not valid: unexpected"):
    ChatTemplate("{{ }", {})


def test_long_conversations_are_within_the_bounds():
  turns = (
    Message("user", "word 100% {:} " * 30_000),
    Message("assistant", "y"),
  )
  source = chat_cases.CHATML.replace(
    "m['content']", "m['content'].replace('word', 'words')|trim"
  )
  written = ChatTemplate(source, {}).render(
    turns * 5, add_generation_prompt=False
  )
  assert written.count("words 100% {:}") == 150_000


@pytest.mark.parametrize(
  ("source", "role"),
  [
    (chat_cases.CHATML, "developer"),
    (
      "{% for m in messages %}{% if m.role in ['system', 'user'] %}"
      "{{ m.role }}:{{ m.content }};{% endif %}{% endfor %}",
      "system",
    ),
    (
      "{% for m in messages %}{% if m.role == 'developer' %}"
      "{{ raise_exception('unknown role') }}{% endif %}"
      "{{ m.role }}:{{ m.content }};{% endfor %}",
      "system",
    ),
  ],
)
def test_a_developer_is_a_system_where_the_template_has_none(source, role):
  turns = (Message("developer", "Be brief."), Message("user", "x"))
  written = ChatTemplate(source, {}).render(turns, add_generation_prompt=False)
  same = (Message(role, "Be brief."), Message("user", "x"))
  assert role in written
  assert "Be brief." in written
  assert written == ChatTemplate(source, {}).render(
    same, add_generation_prompt=False
  )
