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


def test_time_is_bounded(monkeypatch):
  monkeypatch.setattr(sandbox, "MAX_SECONDS", 0.0)
  with pytest.raises(UserError, match="more than 0 seconds"):
    render("{% for m in messages %}{% endfor %}")
