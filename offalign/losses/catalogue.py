"""The catalogue of losses as Markdown, made from the registry.

python -m offalign.losses.catalogue > docs/losses.md
"""

import inspect
import re
from collections.abc import Mapping

from offalign import losses
from offalign.losses import Definition
from offalign.types import Kind

_HEAD = """# Losses

Made from the registry by `python -m offalign.losses.catalogue`;
[choosing a method](guides/choosing-a-method.md) begins with the feedback
instead. Notation:
$\\rho = \\log\\pi(y|x) - \\log\\pi_{\\mathrm{ref}}(y|x)$, a sum over completion
tokens; $w$ and $l$ are the chosen and the rejected completion, $r$ the reward,
$V$ the value, $\\sigma$ the logistic sigmoid. Every loss is unreduced; the
learner takes the mean over the global batch.
"""

_KINDS = {
  Kind.SINGLE: "Single completions",
  Kind.PAIR: "Pairs",
  Kind.GROUP: "Groups",
}
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{5})")
_OPTION = re.compile(r"^  (\w+): (.*)$")


def render() -> str:
  """The whole page: a table for each kind of feedback, a section a loss."""
  definitions = [losses.definition(name) for name in losses.names()]
  tables = "".join(_table(kind, definitions) for kind in _KINDS)
  return _HEAD + tables + "".join(_section(d) for d in definitions)


def _table(kind: Kind, definitions: list[Definition]) -> str:
  rows = "".join(
    f"| [`{d.name}`](#{d.name}) | {d.when} | {_needs(d)} |\n"
    for d in definitions
    if d.bind({}).kind is kind
  )
  head = "| name | when to use it | needs |\n| :--- | :--- | :--- |"
  return f"\n## {_KINDS[kind]}\n\n{head}\n{rows}"


def _section(definition: Definition) -> str:
  """The section of a loss: formula, use, needs, docstring, options."""
  words, options, returns = _split(definition.fn.__doc__ or "")
  kind = definition.bind({}).kind.value
  parts = [
    f"### {definition.name}",
    f"$${definition.formula}$$",
    f"**When to use it.** {definition.when}",
    f"**Feedback:** {kind}. **Needs:** {_needs(definition)}. "
    f"**Paper:** {_link(definition.paper)}.",
    words,
    _options(definition, options),
    f"Returns {returns}",
  ]
  return "\n" + "\n\n".join(part for part in parts if part) + "\n"


def _needs(definition: Definition) -> str:
  return ", ".join(f"`{n}`" for n in definition.bind({}).needs) or "nothing"


def _options(definition: Definition, meanings: Mapping[str, str]) -> str:
  lines = [
    f"| `{name}` | `{default}` | {meanings.get(name, '')} |"
    for name, default in definition.defaults.items()
  ]
  if not lines:
    return ""
  head = "| option | default | |\n| :--- | :--- | :--- |"
  return "\n".join([head, *lines])


def _split(doc: str) -> tuple[str, dict[str, str], str]:
  """Splits a docstring into its text, its Args by name, and its Returns."""
  text, _, rest = inspect.cleandoc(doc).partition("\n\nArgs:\n")
  args, _, returns = rest.partition("\n\nReturns:\n")
  options: dict[str, str] = {}
  name = ""
  for line in args.splitlines():
    begun = _OPTION.match(line)
    if begun:
      name, options[begun[1]] = begun[1], begun[2]
    else:
      options[name] += " " + line.strip()
  # In a cell, a bar would end it; in a paragraph, a star might set it in bold.
  cells = {k: _escape(v).replace("|", "\\|") for k, v in options.items()}
  return _escape(text), cells, " ".join(_escape(returns).split())


def _escape(text: str) -> str:
  """Escapes stars in Markdown, except in code."""
  return re.sub(r"(`[^`]*`)|\*", lambda match: match[1] or "\\*", text)


def _link(paper: str) -> str:
  return _ARXIV.sub(r"[\g<0>](https://arxiv.org/abs/\1)", paper)


if __name__ == "__main__":
  print(render(), end="")
