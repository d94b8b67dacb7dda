"""Mutants of valid files: bytes flipped and cut, and JSON of another shape."""

import contextlib
import dataclasses
import gzip
import io
import json
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st


@dataclasses.dataclass(frozen=True)
class Raw:
  """JSON that is written as it stands."""

  text: str


class Pairs(list):
  """The (key, value) pairs of a JSON object, in which a key may repeat."""


VALUES = (
  *(None, True, False, 0, 1, -1, 2, 255, 2**31, 2**53, 2**63, 10**30),
  *(0.5, -0.5, 1e-320, 1e30, 3.5e38, 1e308, [], {}, [[]], [None], {"a": 1}),
  *("", "x", " ", "\0", "\x1b[2J", "a\u202eb", "\ud800", "NaN", "line\nbreak"),
  *("<script>alert(1)</script>", "a|b`c`", "../../etc/passwd", "x" * 5_000),
  "long " * 20_000,
  *map(Raw, ("NaN", "Infinity", "-Infinity", "1e400", "-0", "9" * 5_000)),
  Raw("[" * 3_000 + "]" * 3_000),
  Raw('{"a":' * 3_000 + "1" + "}" * 3_000),
)
"""What takes the place of a value of a JSON file."""

SNIPPETS = (
  *(b"\0", b"\x1b[2J", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b"\r\n", b" "),
  *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\\ud800", b"null"),
  *(b"NaN", b"1e999", b"-1", b"9" * 400, b"[" * 3_000, b"x" * 3_000, b"{}\n"),
)
"""What is put between the bytes of a file."""

WORDS = (
  *("{{", "}}", "{%", "%}", "{% endfor %}", "{% endif %}", "|", "(", ")", "+"),
  *("~", "*", "[", "]", "'", '"', "=", ",", ".", ":", "=1e999", "=True", "\\d"),
  *("not", "None", "messages", "loop.index", "|tojson", "|trim", "* 999999999"),
  *("{{ 'x' * 99999 }}", "{% for a in messages %}", "range(10**9)", "[::-1]"),
  *("1_0", "0x", "1if", "lambda: 0", "(" * 200, "-" * 2_000, "\n", "\0", "é"),
)
"""What is put between the words of a text."""


def dumps(value: Any) -> str:
  """JSON of a value that may hold `Raw` and `Pairs`."""
  if isinstance(value, Raw):
    return value.text
  if isinstance(value, dict):
    value = Pairs(value.items())
  if isinstance(value, Pairs):
    inside = (f"{json.dumps(str(k))}: {dumps(v)}" for k, v in value)
    return "{" + ", ".join(inside) + "}"
  if isinstance(value, list):
    return "[" + ", ".join(map(dumps, value)) + "]"
  return json.dumps(value)


@st.composite
def mutants(draw, files):
  """One to three edits of a folder's files: name -> bytes."""
  made = dict(files)
  for _ in range(draw(st.sampled_from((1, 1, 1, 1, 2, 3)))):
    name = draw(st.sampled_from(sorted(made)))
    made[name] = draw(_edited(name, made[name]))
  return made


@st.composite
def _edited(draw, name, content):
  kinds = ["bytes"]
  if name.endswith(".gz"):
    kinds += ["gzip"] * 4
  elif name.endswith(".parquet"):
    kinds += ["parquet"] * 2
  elif name.endswith(".safetensors"):
    kinds += ["safetensors"] * 2
  elif name.endswith(".npz"):
    kinds += ["npz"] * 2
  elif name.endswith(".jsonl"):
    kinds += ["lines"] * 4
  elif name.endswith((".txt", ".jinja", ".toml")):
    kinds += ["words"] * 7
  elif _json(content) is not None:
    kinds += ["json"] * 4 + ["spaced"]
  kind = draw(st.sampled_from(kinds))
  return draw(_EDITS[kind](content))


@st.composite
def _bytes(draw, content):
  """A bit, a byte or a slice is changed."""
  size = len(content)
  how = draw(st.sampled_from(("bit", "bit", "byte", "cut", "slice", "insert")))
  at = draw(st.integers(0, max(size - 1, 0)))
  if how == "insert" or not size:
    return content[:at] + draw(st.sampled_from(SNIPPETS)) + content[at:]
  if how == "bit":
    changed = content[at] ^ (1 << draw(st.integers(0, 7)))
    return content[:at] + bytes([changed]) + content[at + 1 :]
  if how == "byte":
    return (
      content[:at]
      + draw(st.binary(min_size=1, max_size=1))
      + (content[at + 1 :])
    )
  if how == "cut":
    return draw(st.sampled_from((content[:at], content[at:])))
  end = min(at + draw(st.sampled_from((1, 2, 7, 64, 1000))), size)
  times = draw(st.sampled_from((0, 0, 2, 2, 3, 50)))
  return content[:at] + content[at:end] * times + content[end:]


@st.composite
def _words(draw, content):
  """A piece of text comes in, goes, or is doubled."""
  text = content.decode("utf-8", "replace")
  at = draw(st.integers(0, len(text)))
  how = draw(
    st.sampled_from(
      ("digit", "digit", "digit", "space", "insert", "letter", "cut", "double")
    )
  )
  if how == "insert":
    return (text[:at] + draw(st.sampled_from(WORDS)) + text[at:]).encode()
  if how == "letter":
    return (text[:at] + draw(st.sampled_from("aZ_ 9")) + text[at:]).encode()
  if how == "space":
    places = [i for i, c in enumerate(text) if c in " ,=\n"] or [at]
    at = draw(st.sampled_from(places))
    return (text[:at] + " " + text[at:]).encode()
  if how == "digit":
    places = [i for i, c in enumerate(text) if c.isdigit()] or [at]
    at = draw(st.sampled_from(places))
    return (
      text[:at]
      + draw(st.sampled_from("12345678" * 2 + "0.e-"))
      + text[at + 1 :]
    ).encode()
  end = at + draw(st.integers(1, 12))
  middle = "" if how == "cut" else 2 * text[at:end]
  return (text[:at] + middle + text[end:]).encode()


@st.composite
def _tree(draw, value):
  """A JSON value with one node changed."""
  path = draw(st.sampled_from(_paths(value)))
  return _put(
    value, path, draw(_node(_get(value, path), _get(value, path[:-1])))
  )


@st.composite
def _node(draw, node, parent):
  how = draw(
    st.sampled_from(
      ("nudge", "nudge", "nudge", "replace", "replace", "wrap", "reshape")
    )
  )
  if how == "wrap":
    return draw(st.sampled_from(([node], {"content": node}, [node, node])))
  if how == "replace" or node is None:
    return draw(st.sampled_from(VALUES))
  if how == "reshape" or isinstance(node, dict | list):
    target = node if isinstance(node, dict | list) else parent
    if not isinstance(target, dict | list) or not target or target is not node:
      return draw(st.sampled_from(VALUES))
    return draw(_reshaped(node))
  if isinstance(node, bool):
    return not node
  if isinstance(node, str):
    at = draw(st.integers(0, len(node)))
    more = draw(st.sampled_from(("a", " b", "é", "\n", "1", "<", "\t")))
    return node[:at] + more + node[at:]
  factor = draw(st.sampled_from((1, 1, 2, 0.5, -1, 1000)))
  return node * factor + draw(st.sampled_from((0, 1, -1, 0.25)))


@st.composite
def _reshaped(draw, node):
  """An object or a list with other members."""
  items = list(node.items()) if isinstance(node, dict) else list(node)
  at = draw(st.integers(0, len(items) - 1))
  how = draw(
    st.sampled_from(("drop", "order", "order", "repeat", "rename", "add"))
  )
  if how == "drop":
    items.pop(at)
  elif how == "order":
    items.append(items.pop(at))
  elif how == "repeat":
    items.append(items[at])
  elif isinstance(node, list):
    items.append(draw(st.sampled_from(VALUES)))
  else:
    key = draw(st.sampled_from(("x", "", "\x1b", "\u202e", "<b>", "y" * 300)))
    value = items.pop(at)[1] if how == "rename" else None
    items.append((key, value))
  if isinstance(node, dict):
    keys = [key for key, _ in items]
    return dict(items) if len({*keys}) == len(keys) else Pairs(items)
  return items


@st.composite
def _json_edit(draw, content):
  return dumps(draw(_tree(_json(content)))).encode()


@st.composite
def _spaced(draw, content):
  """The same JSON, laid out in another way."""
  indent = draw(st.sampled_from((None, 0, 1, "\t")))
  ascii_alone = draw(st.booleans())
  value = _json(content)
  return json.dumps(value, indent=indent, ensure_ascii=ascii_alone).encode(
    "utf-8", "replace"
  )


@st.composite
def _lines(draw, content):
  """A line changes, goes, moves or comes twice."""
  lines = content.split(b"\n")
  at = draw(st.integers(0, max(len(lines) - 2, 0)))
  how = draw(
    st.sampled_from(("tree", "tree", "tree", "drop", "move", "repeat", "put"))
  )
  if how == "tree":
    value = _json(lines[at])
    changed = draw(_bytes(lines[at]) if value is None else _tree(value))
    lines[at] = changed if value is None else dumps(changed).encode()
  elif how == "drop":
    lines.pop(at)
  elif how == "move":
    lines.insert(0, lines.pop(at))
  elif how == "repeat":
    lines.insert(at, lines[at])
  else:
    odd = (b"", b"{}", b"null", b"garbage", b"[1]", b"{", b'{"lo": 3}', b"\x1b")
    lines.insert(at, draw(st.sampled_from(odd)))
  return b"\n".join(lines)


@st.composite
def _gzip(draw, content):
  try:
    inside = gzip.decompress(content)
  except Exception:
    return draw(_bytes(content))
  return gzip.compress(draw(_lines(inside)), mtime=0)


@st.composite
def _parquet(draw, content):
  """The same table with a cell, a column or a type that is another."""
  try:
    rows = pq.read_table(io.BytesIO(content)).to_pylist()
    table = pa.Table.from_pylist([_plain(row) for row in draw(_tree(rows))])
  except Exception:  # what arrow cannot hold
    return draw(_bytes(content))
  out = io.BytesIO()
  try:
    pq.write_table(table, out)
  except Exception:
    return draw(_bytes(content))
  return out.getvalue()


@st.composite
def _safetensors(draw, content):
  """Another header, with its own length or with the old one."""
  length = int.from_bytes(content[:8], "little")
  header = _json(content[8 : 8 + length])
  if not isinstance(header, dict):
    return draw(_bytes(content))
  text = dumps(draw(_tree(header))).encode()
  claimed = draw(st.sampled_from((len(text), len(text), length, 2**62)))
  return struct.pack("<Q", claimed) + text + content[8 + length :]


@st.composite
def _npz(draw, content):
  """Arrays of another value, shape, type or name."""
  try:
    with np.load(io.BytesIO(content)) as file:
      arrays = {name: file[name] for name in file.files}
  except Exception:
    return draw(_bytes(content))
  name = draw(st.sampled_from(sorted(arrays)))
  array = arrays.pop(name)
  how = draw(
    st.sampled_from(("value", "value", "shape", "type", "name", "cut"))
  )
  if how == "value" and array.size and array.dtype.kind in "fiuS":
    array = array.copy()
    at = draw(st.integers(0, array.nbytes - 1))
    array.reshape(-1).view(np.uint8)[at] ^= 1 << draw(st.integers(0, 7))
  elif how == "shape":
    array = draw(st.sampled_from((array[None], array.reshape(-1)[:1])))
  elif how == "type":
    kinds = ("float64", "S3", "U40", "bool", "complex64")
    with contextlib.suppress(ValueError):
      array = array.astype(draw(st.sampled_from(kinds)))
  elif how == "cut":
    array = array.reshape(-1)[: array.size // 2]
  arrays["other" if how == "name" else name] = array
  out = io.BytesIO()
  np.savez(out, **arrays)
  return out.getvalue()


_EDITS = {
  "npz": _npz,
  "bytes": _bytes,
  "words": _words,
  "json": _json_edit,
  "spaced": _spaced,
  "lines": _lines,
  "gzip": _gzip,
  "parquet": _parquet,
  "safetensors": _safetensors,
}


def _plain(row):
  """A row without `Raw` and `Pairs`, which are no values of a table."""
  if isinstance(row, Raw):
    return row.text
  if isinstance(row, Pairs):
    return dict(row)
  if isinstance(row, dict):
    return {key: _plain(value) for key, value in row.items()}
  return [_plain(value) for value in row] if isinstance(row, list) else row


def _json(content):
  """The object or list that bytes hold; else None."""
  try:
    value = json.loads(content)
  except (ValueError, RecursionError):
    return None
  return value if isinstance(value, dict | list) and value else None


def _paths(value, most=400):
  found, waiting = [], [()]
  while waiting and len(found) < most:
    path = waiting.pop(0)
    found.append(path)
    node = _get(value, path)
    if isinstance(node, dict):
      waiting += [(*path, key) for key in node]
    elif isinstance(node, list):
      waiting += [(*path, i) for i in range(len(node))]
  return found


def _get(value, path):
  for key in path:
    value = value[key]
  return value


def _put(value, path, new):
  if not path:
    return new
  copy = dict(value) if isinstance(value, dict) else list(value)
  copy[path[0]] = _put(value[path[0]], path[1:], new)
  return copy
