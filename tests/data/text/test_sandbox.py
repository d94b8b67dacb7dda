"""What a template can take: bounded bytes and bounded time."""

import pytest

from offalign.data import Message
from offalign.data.text import sandbox
from offalign.data.text.chat_template import ChatTemplate
from offalign.errors import UserError


def render(source):
  turns = (Message("system", "<&"), Message("user", "hé"))
  return ChatTemplate(source, {}).render(turns, add_generation_prompt=False)


DOUBLED = (
  "{% set ns = namespace(x='xxxxxxxxxx') %}"
  "{% for i in range(60) %}{% set ns.x = @ %}{% endfor %}{{ ns.x|length }}"
)


@pytest.mark.parametrize(
  "source",
  [
    *(DOUBLED.replace("@", how) for how in ("ns.x + ns.x", "ns.x ~ ns.x")),
    *(DOUBLED.replace("@", how) for how in ("[ns.x, ns.x]|string", "ns.x * 9")),
    "{{ 'x'|center(1000000000) }}",
    "{{ 'x'.ljust(1000000000) }}",
    "{{ '1'.zfill(1000000000) }}",
    "{{ '\t'.expandtabs(1000000000) }}",
    "{{ 'x'|indent(1000000000, first=true) }}",
    "{{ [1]|tojson(indent=1000000000) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (1000000000, 1) }}",
    "{{ '%1000000000d'|format(1) }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:{w}}'.format(1, w=1000000000) }}",
    "{{ range(100000)|slice(1000000000)|list }}",
    "{{ range(100000)|batch(1000000000, 'x')|list }}",
    "{{ ('x' * 1000000)|replace('x', 'y' * 1000)|length }}",
    "{{ ('x' * 1000000).replace('x', 'y' * 1000)|length }}",
    "{{ ('x' * 100000).join(('y' * 100000)|list)|length }}",
    "{{ ('x ' * 4000000)|wordwrap(1)|length }}",
    "{{ ['x'] * 1000000000 }}",
    "{{ lipsum(n=10000000) }}",
    "{{ '%(a)1000000000d' % {'a': 1} }}",
    "{{ '%.1000000000f' % 1.5 }}",
    "{{ '%(a(b))1000000000d' % {'a(b)': 1} }}",
    "{{ '{:x<1000000000}'.format(1) }}",
    "{{ ('{0}' * 100000).format('x' * 100000)|length }}",
    "{{ ('{0[0]}' * 100000).format(['x' * 100000])|length }}",
    "{{ ('{a}' * 100000).format_map({'a': 'x' * 100000})|length }}",
    "{{ (('%(a)s' * 100000) % {'a': 'x' * 100000})|length }}",
    "{{ ('%(a)s' * 100000)|format(a='x' * 100000)|length }}",
    "{{ 7|round(-1000000000) }}",
    "{{ ('a ' * 4000000)|title|length }}",
    "{{ ('\N{GRINNING FACE}' * 15000000)|length }}",
  ],
)
def test_memory_is_bounded(source, monkeypatch):
  resource = pytest.importorskip("resource")
  monkeypatch.setattr(sandbox, "MAX_WORK", 20_000_000)
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  with pytest.raises(UserError, match="chat template"):
    render(source)
  grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
  assert grown < 300_000  # kB


ENTANGLED = (
  "{% set ns = namespace(x=@, y=@) %}{% for i in range(40) %}"
  "{% set ns.x = # %}{% set ns.y = $ %}{% endfor %}"
)
LISTS = ENTANGLED.replace("@", "[1]").replace("#", "[ns.x, ns.x]")
LISTS = LISTS.replace("$", "[ns.y, ns.y]")
TUPLES = ENTANGLED.replace("@", "(1,)").replace("#", "(ns.x, ns.x)")
TUPLES = TUPLES.replace("$", "(ns.y, ns.y)")


@pytest.mark.parametrize(
  "source",
  [
    *(LISTS + end for end in ("{{ ns.x == ns.y }}", "{{ ns.x in [ns.y] }}")),
    *(LISTS + end for end in ("{{ ns.x is eq ns.y }}", "{{ [ns.x]|sort }}")),
    LISTS + "{{ [ns.x].index(ns.y) }}",
    TUPLES + "{{ ns.x < ns.y }}",
    TUPLES + "{{ {ns.x: 1}|length }}",
    TUPLES + "{{ {1: 2}[ns.x] }}",
    TUPLES + "{{ {1: 2}.get(ns.x) }}",
  ],
)
def test_what_holds_itself_forty_times_over_is_not_compared(source):
  with pytest.raises(UserError, match="chat template"):
    render(source)


def test_whole_numbers_do_not_grow_without_end():
  grown = DOUBLED.replace("'xxxxxxxxxx'", "7").replace("@", "ns.x * ns.x")
  with pytest.raises(UserError, match="chat template"):
    render(grown)


def test_a_large_number_is_no_width():
  assert render("{{ 123456|tojson }} {{ 123456.78|round(1) }}") == (
    "123456 123456.8"
  )


def test_time_is_bounded(monkeypatch):
  monkeypatch.setattr(sandbox, "MAX_SECONDS", 0.0)
  with pytest.raises(UserError, match="more than 0 seconds"):
    render("{% for m in messages %}{% endfor %}")
