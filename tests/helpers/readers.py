"""Every reader of files: what it is given, and what its result must say.

A row of `READERS` has valid files, the call that reads them, and a check that
reads the same bytes by other means. A new reader is a new row.
"""

import ast
import contextlib
import csv
import dataclasses
import gzip
import io
import json
import math
import pathlib
import sqlite3
import tomllib
from collections.abc import Callable
from typing import Any

import jinja2
import jinja2.ext
import jinja2.sandbox
import numpy as np
import valid_files

from offalign.errors import UserError

TEXTS = ["is it odd?", "  two  spaces\n", "né 漢字", ""]
TALK = [
  {"role": "user", "content": " a"},
  {"role": "assistant", "content": "b"},
  {"role": "user", "content": "c\n"},
]


@dataclasses.dataclass(frozen=True)
class Reader:
  """A reader of files.

  Attributes:
    seeds: makes the valid folders, name -> bytes each, in a folder to be
      worked in.
    read: folder -> what the reader makes of it.
    check: (folder, that) -> AssertionError where the files say something else.
    warm: imports and compiles what does not count as reading.
    share: of the mutants, in comparison with other readers.
  """

  seeds: Callable[[pathlib.Path], list[dict[str, bytes]]]
  read: Callable[[pathlib.Path], Any]
  check: Callable[[pathlib.Path, Any], None]
  warm: Callable[[], Any] | None = None
  share: float = 1.0


READERS: dict[str, Reader] = {}


def reader(seeds, check, **more):
  """Puts a function that reads a folder into the table, under its name."""

  def decorate(read):
    name = read.__name__.removeprefix("read_")
    takes_folder = seeds.__code__.co_argcount > 0
    make = seeds if takes_folder else lambda folder: seeds()
    READERS[name] = Reader(make, read, check, **more)
    return read

  return decorate


# Feedback: JSON lines, gzipped ones, Parquet.


def _rows_of(path):
  if path.suffix == ".parquet":
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).read().to_pylist()
  content = path.read_bytes()
  if path.suffix == ".gz":
    content = gzip.decompress(content)
  content = content.removeprefix(b"\xef\xbb\xbf")
  return [json.loads(x) for x in content.split(b"\n") if x.strip()]


def _leaves(value):
  if isinstance(value, dict):
    return [x for each in value.values() for x in _leaves(each)]
  if isinstance(value, list):
    return [x for each in value for x in _leaves(each)]
  return [value]


def _same_feedback(folder, table):
  (path,) = folder.iterdir()
  rows = _rows_of(path)
  assert len(table.records) == len(rows)
  assert table.problems == ()
  for record, row in zip(table.records, rows, strict=True):
    told = _leaves(row)
    if isinstance(row.get("prompt"), str):
      assert record.prompt == row["prompt"]
    if isinstance(row.get("completion"), str):
      assert record.completions == (row["completion"],)
    if record.ranked and isinstance(row["chosen"], str):
      assert record.completions[0] == row["chosen"]
      assert record.completions[1] == row["rejected"]
    if isinstance(row.get("completions"), list):
      assert list(record.completions) == row["completions"]
    for message in () if isinstance(record.prompt, str) else record.prompt:
      assert message.content in told
    assert all(text in told for text in record.completions)
    for reward in record.rewards or ():
      assert math.isfinite(reward)
      assert any(reward == x for x in told if isinstance(x, int | float))
    if record.labels is not None and "label" in row:
      assert record.labels == (row["label"],)


def _load(folder):
  from offalign.data import load

  (path,) = folder.iterdir()
  return load(path)


@reader(valid_files.jsonl, _same_feedback, share=2)
def read_jsonl(folder):
  return _load(folder)


@reader(valid_files.gzipped, _same_feedback)
def read_gzipped_jsonl(folder):
  return _load(folder)


@reader(valid_files.parquet, _same_feedback)
def read_parquet(folder):
  return _load(folder)


def _same_array(folder, table):
  (path,) = folder.iterdir()
  rows = json.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
  rows = [rows] if isinstance(rows, dict) else rows
  assert len(table.records) == len(rows)
  for record, row in zip(table.records, rows, strict=True):
    if isinstance(row.get("completion"), str):
      assert record.completions == (row["completion"],)
    if isinstance(row.get("prompt"), str):
      assert record.prompt == row["prompt"]


@reader(valid_files.arrays, _same_array)
def read_json_array(folder):
  return _load(folder)


def _same_cells(folder, table):
  """Python's own reader of CSV finds these texts and numbers."""
  (path,) = folder.iterdir()
  told = set()
  text = path.read_bytes().decode("utf-8").removeprefix("\ufeff")
  sign = "\t" if path.suffix == ".tsv" else ","
  for row in csv.reader(io.StringIO(text, newline=""), delimiter=sign):
    told |= {cell.replace("\r\n", "\n") for cell in row}
  for record in table.records:
    if isinstance(record.prompt, str) and '"' not in text and "\r" not in text:
      assert record.prompt in told
      assert told.issuperset(record.completions)
    for reward in record.rewards or ():
      assert math.isfinite(reward)


@reader(valid_files.tables_of_text, _same_cells)
def read_csv(folder):
  return _load(folder)


def _sound_records(folder, table):
  del folder
  for record in table.records:
    assert all(isinstance(text, str) for text in record.completions)
    assert all(map(math.isfinite, record.rewards or ()))


@reader(valid_files.arrow_files, _sound_records, share=0.5)
def read_arrow(folder):
  return _load(folder)


def _load_folder(folder):
  from offalign.data import load

  return load(folder)


@reader(valid_files.saved_data, _sound_records, share=0.5)
def read_saved_data(folder):
  return _load_folder(folder)


def _same_table(folder, table):
  with contextlib.closing(sqlite3.connect(folder / "data.db")) as base:
    (name,) = (
      row[0]
      for row in base.execute(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
      )
    )
    quoted = name.replace('"', '""')
    rows = base.execute(f'SELECT COUNT(*) FROM "{quoted}"').fetchone()
  assert len(table.records) == rows[0]


@reader(valid_files.databases, _same_table, share=0.5)
def read_database(folder):
  return _load(folder)


def _same_map(folder, found):
  """It is written as it was read."""
  from offalign.data.reading.columns import parse

  del folder
  again = parse(", ".join(map(str, found.entries)))
  assert again.entries == found.entries


@reader(valid_files.column_maps, _same_map)
def read_column_map(folder):
  from offalign.data.reading.columns import parse

  (path,) = folder.iterdir()
  return parse(path.read_bytes().decode("utf-8", "replace"))


def _sound_ends(folder, found):
  """What the model's files name is among the ends, if it is a token."""
  for name in ("generation_config.json", "config.json"):
    path = folder / name
    given = json.loads(path.read_bytes()) if path.exists() else {}
    ends = given.get("eos_token_id")
    for end in ends if isinstance(ends, list) else [ends]:
      known = end is not None and end < found.vocab_size
      assert not known or end in found.end_ids or not found.name_of(end)


@reader(valid_files.end_settings, _sound_ends)
def read_end_tokens(folder):
  from offalign.data import Tokenizer

  return Tokenizer.load(folder)


def _fair_audit(folder, report):
  """What can be read has no error; what cannot, has one."""
  try:
    table = _load(folder)
  except UserError:
    assert report.count("error")
  else:
    assert report.scan.rows == len(table.records)


@reader(valid_files.jsonl, _fair_audit, share=0.5)
def read_audit(folder):
  from offalign.audit import audit
  from offalign.audit.report.console import text
  from offalign.audit.report.json_form import as_json

  (path,) = folder.iterdir()
  report = audit(str(path))
  text(report)
  json.dumps(as_json(report))
  return report


# Tokenizers and chat templates.


def _same_tokens(folder, found):
  import tokenizers

  made = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
  made.encode_special_tokens = True
  special = [
    token.content
    for token in made.get_added_tokens_decoder().values()
    if token.special
  ]
  for text, ids in zip(TEXTS, found, strict=True):
    if not any(token in text for token in special):
      whole = made.encode(text, add_special_tokens=False).ids
      assert list(ids) == whole, text


@reader(valid_files.tokenizer, _same_tokens)
def read_tokenizer(folder):
  from offalign.data import Tokenizer
  from offalign.data.reading.records import Message

  made = Tokenizer.load(folder)
  talk = tuple(Message(**turn) for turn in TALK)
  made.encode_rows(["x", talk], [(0, "y"), (1, "z")], max_prompt=64)
  made.decode(made.encode(["some text"])[0])
  return made.encode(TEXTS)


def _same_text(folder, found):
  made = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=[jinja2.ext.loopcontrols],
  )
  made.filters["tojson"] = lambda x, **kw: json.dumps(
    x, ensure_ascii=False, **kw
  )
  text = (folder / "chat_template.jinja").read_text(encoding="utf-8")
  rendered = made.from_string(text).render(
    messages=TALK,
    tools=None,
    documents=None,
    add_generation_prompt=True,
    bos_token="<s>",
    eos_token="</s>",
  )
  assert rendered == found


@reader(valid_files.templates, _same_text, share=2)
def read_chat_template(folder):
  from offalign.data.reading.records import Message
  from offalign.data.text.chat_template import ChatTemplate

  content = (folder / "chat_template.jinja").read_bytes()
  try:
    text = content.decode()
  except UnicodeDecodeError:
    raise UserError("not UTF-8") from None  # as `pretrained` says
  text = text.replace("\r\n", "\n").replace("\r", "\n")
  made = ChatTemplate(text, {"bos_token": "<s>", "eos_token": "</s>"})
  talk = [Message(**turn) for turn in TALK]
  return made.render(talk, add_generation_prompt=True)


# Model folders.


def _same_tensors(folder, found):
  from safetensors.numpy import load_file

  expected = {}
  for path in folder.glob("*.safetensors"):
    expected |= load_file(path)
  assert found.keys() <= expected.keys()
  for name, values in found.items():
    assert values.dtype == expected[name].dtype, name
    assert values.tobytes() == expected[name].tobytes(), name


@reader(valid_files.model_folder, _same_tensors)
def read_safetensors(folder):
  from offalign.models.hf.folder import open_folder

  opened = open_folder(folder)
  assert len(opened.fingerprint) == 16
  return {
    name: np.array(tensor.part((slice(None),) * len(tensor.shape)))
    for name, tensor in opened.tensors.items()
  }


def _same_sizes(folder, model):
  import jax

  config = json.loads((folder / "config.json").read_bytes())
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  sizes = [x.shape for x in jax.tree.leaves(shapes)]
  width = config.get("hidden_size", config.get("d_model"))
  assert (config["vocab_size"], width) in sizes
  assert model.vocab_size == config["vocab_size"]
  layers = config.get("num_hidden_layers")
  if layers is not None:
    stacked = [s for s in sizes if len(s) > 1 and s[0] == layers]
    assert stacked or any(
      f"{layers - 1}" in jax.tree_util.keystr(path)
      for path, _ in jax.tree_util.tree_leaves_with_path(shapes)
    )


def _warm_models():
  from offalign.models import hf

  hf.describe(valid_files.LLAMA, spec="hf:warm", tied=False)


@reader(valid_files.configs, _same_sizes, warm=_warm_models, share=0.5)
def read_config_json(folder):
  from offalign.models import hf
  from offalign.models.hf.folder import read_config

  config = read_config(folder)
  return hf.describe(config, spec="hf:x", tied=False)


def _same_weights(folder, loaded):
  """Each element of a file is an element of the params."""
  import jax
  from safetensors.numpy import load_file

  _, params = loaded
  sizes = sum(x.size for x in jax.tree.leaves(params))
  files = [load_file(path) for path in folder.glob("*.safetensors")]
  told = {name: x for each in files for name, x in each.items()}
  assert sizes <= sum(x.size for x in told.values())
  total = sum(float(np.sum(x, dtype=np.float64)) for x in told.values())
  found = sum(
    float(np.sum(np.asarray(x), dtype=np.float64))
    for x in jax.tree.leaves(params)
  )
  config = json.loads((folder / "config.json").read_bytes())
  scaled = config.get("tie_word_embeddings") or len(told) != len(files[0])
  if np.isfinite(total) and not scaled:
    np.testing.assert_allclose(found, total, rtol=1e-4, atol=1e-2)


@reader(valid_files.model_folder, _same_weights, warm=_warm_models, share=0.3)
def read_model_folder(folder):
  from offalign.models import hf

  return hf.load(folder, spec="hf:x")


# Specs and presets.


def _spec_of(folder):
  content = (folder / "spec.txt").read_bytes()
  try:
    return content.decode()
  except UnicodeDecodeError:
    raise UserError("not UTF-8") from None  # a shell's arguments are text


def _same_loss(folder, loss):
  from offalign import losses

  assert str(losses.get(str(loss))) == str(loss)
  text = _spec_of(folder).strip()
  node = ast.parse(text, mode="eval").body
  if isinstance(node, ast.Call):
    for keyword in node.keywords:
      if isinstance(keyword.value, ast.Constant):
        value = loss.options[keyword.arg]
        assert value == keyword.value.value, keyword.arg


@reader(valid_files.specs, _same_loss, share=2)
def read_loss_spec(folder):
  from offalign import losses

  return losses.get(_spec_of(folder))


def _same_model(folder, model):
  from offalign import models

  assert models.make(model.spec, vocab_size=9).spec == model.spec


@reader(valid_files.model_specs, _same_model)
def read_model_spec(folder):
  from offalign import models

  return models.make(_spec_of(folder), vocab_size=9)


def _same_flags(folder, found):
  table = tomllib.loads((folder / "preset.toml").read_text("utf-8"))
  expected = []

  def add(prefix, values):
    for key, value in values.items():
      if isinstance(value, dict):
        add(f"{prefix}.{key}", value)
      else:
        said = str(value).lower() if isinstance(value, bool) else str(value)
        expected.append(f"--{prefix}.{key}={said}")

  add("cfg", table)
  assert found == expected


@reader(valid_files.preset_files, _same_flags)
def read_preset(folder):
  from offalign.config import presets

  kept, presets._FOLDER = presets._FOLDER, folder
  try:
    return presets.flags("presets/preset")
  finally:
    presets._FOLDER = kept


# Run folders.


def _about_alone():
  whole = valid_files.run_folder()
  names = ("run.json", "metrics.jsonl", "cost.json")
  return [
    {
      **{name: whole[name] for name in names},
      "checkpoints/4/_CHECKPOINT_METADATA": (
        whole["checkpoints/4/_CHECKPOINT_METADATA"]
      ),
    }
  ]


def _same_about(folder, policy):
  about = json.loads((folder / "run.json").read_bytes())
  assert policy.about == about
  assert str(policy.loss) == about["loss"]
  assert policy.model.spec == about["model"]
  assert policy.model.vocab_size == about["vocab_size"]
  *whole, last = (folder / "metrics.jsonl").read_bytes().split(b"\n")
  lines = [json.loads(line) for line in whole if line.strip()]
  with contextlib.suppress(ValueError):  # it was cut off
    lines.append(json.loads(last))
  held = [x for x in lines if any(k.startswith("eval_") for k in x)]
  held = [x for x in held if x["step"] <= policy.step]
  for name, value in policy.metrics.items():
    assert held[-1][name] == value or value != value
  scale = about["reward_scale"]
  from offalign.data import read_scales

  scales = read_scales(folder)
  assert (scales is None) == (scale is None)
  if scale is not None:
    assert scales.summary() == scale


def _warm_policy():
  import offalign.policy.policy  # noqa: F401

  _warm_models()


@reader(_about_alone, _same_about, warm=_warm_policy)
def read_run_folder(folder):
  from offalign import losses
  from offalign.policy.policy import Policy

  policy = Policy.load(folder)
  assert policy.loss == losses.get(policy.about["loss"])
  repr(policy)
  policy.row()
  return policy


def _checkpoint_alone():
  whole = valid_files.run_folder()
  places = ("policy/", "window/", "about/", "_CHECKPOINT_METADATA")
  read = tuple(f"checkpoints/4/{place}" for place in places)
  return [{k: v for k, v in whole.items() if k.startswith(read)}]


_STATE: dict[str, Any] = {}  # of the child, between two reads


def _template():
  import jax
  import runs

  from offalign import models
  from offalign.distributed import sharding

  if not _STATE:
    model = models.make(runs.DECODER, vocab_size=_VOCAB)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    mesh = sharding.one_device()
    _STATE["template"] = sharding.placed(
      shapes, sharding.state_shardings(mesh, shapes, model.splits)
    )
  return _STATE["template"]


_VOCAB = 262


def _same_state(folder, read):
  """The shapes that were asked for; orbax has no checksum of the values."""
  import jax

  params, window, about = read
  wanted = jax.tree.map(lambda x: x.shape, _template())
  assert jax.tree.map(lambda x: x.shape, params) == wanted
  for name, found in (("window", window), ("about", about)):
    text = (folder / f"checkpoints/4/{name}/metadata").read_bytes()
    assert found == json.loads(text)


@reader(_checkpoint_alone, _same_state, warm=_template, share=0.5)
def read_checkpoint(folder):
  from offalign.policy.checkpoint import Checkpoints

  with Checkpoints(folder) as checkpoints:
    if checkpoints.latest is None:
      raise UserError("no checkpoint")
    params = checkpoints.restore_policy(_template())
    return params, checkpoints.window(), checkpoints.about()


def _same_logps(folder, store):
  told = {}
  for path in folder.iterdir():
    with np.load(path) as file:
      keys = [key.decode() for key in file["keys"].tolist()]
      told |= dict(zip(keys, file["logps"].tolist(), strict=True))
  np.testing.assert_equal(store.known, told)


@reader(valid_files.reference, _same_logps)
def read_reference(folder):
  from offalign.reference.store import Store

  return Store(folder, "some weights")


# Leaderboards.


def _same_board(folder, board):
  content = (folder / "rows.jsonl").read_bytes()
  rows = []
  for line in content.split(b"\n"):
    try:
      rows.append(json.loads(line))
    except ValueError:
      continue
  assert board.rows == len(rows)
  labels = {row["label"] for row in rows}
  shown = {e.label for group in board.groups for e in group.entries}
  assert shown <= labels
  read_back = json.loads((folder / "meta.json").read_bytes())
  assert board.meta.title == read_back.get("title", "Leaderboard")


def _boards():
  return valid_files.boards()


@reader(_boards, _same_board)
def read_board(folder):
  from offalign.leaderboard import load, render_text

  board = load(folder)
  render_text(board)
  return board


def _sound_report(folder, written):
  from html.parser import HTMLParser

  page = (folder / "report.html").read_text(encoding="utf-8")
  HTMLParser().feed(page)
  assert "<script>alert(1)" not in page
  record = json.loads((folder / "report.json").read_text(encoding="utf-8"))
  assert record["groups"]
  told = (folder / "report.md").read_text(encoding="utf-8")
  assert "<script" not in told
  assert "\x1b" not in page + told


@reader(_boards, _sound_report, share=0.1)
def read_report(folder):
  from offalign.leaderboard import load, write

  return write(load(folder), folder)


# Judges.


def _same_completions(folder, found):
  rows = _rows_of(folder / "completions.jsonl")
  assert list(found.texts) == [row["completion"] for row in rows]
  for prompt, row in zip(found.prompts, rows, strict=True):
    told = row["prompt"]
    if not isinstance(told, str):
      told = tuple((turn["role"], turn["content"]) for turn in told)
    assert prompt == told


@reader(valid_files.completions, _same_completions)
def read_completions(folder):
  from offalign.generation.completions import read

  return read(folder / "completions.jsonl")


def _same_answers(folder, found):
  with sqlite3.connect(folder / "answers.sqlite") as file:
    rows = file.execute(
      "select key, text, refused, prompt_tokens, completion_tokens"
      " from answers where key in ('one', 'two') order by key"
    ).fetchall()
  told = {row[0]: (row[1], bool(row[2]), *row[3:]) for row in rows}
  assert told == {k: dataclasses.astuple(v) for k, v in found.items() if v}


@reader(valid_files.answers, _same_answers)
def read_answers(folder):
  from offalign.endpoints.answers import Answers

  kept = Answers(folder / "answers.sqlite")
  try:
    return {key: kept.get(key) for key in ("one", "two")}
  finally:
    kept.close()


def _same_reply(folder, answer):
  told = json.loads((folder / "reply.json").read_bytes())
  if "choices" not in told:
    assert answer.refused
    return
  text = told["choices"][0]["message"].get("content") or ""
  assert answer.text == text.encode("utf-8", "replace").decode()
  usage = told.get("usage") or {}
  for name in ("prompt_tokens", "completion_tokens"):
    count, said = getattr(answer, name), usage.get(name)
    assert count == (int(said or 0) if 0 <= int(said or 0) <= 10**9 else 0)


@reader(valid_files.replies, _same_reply)
def read_reply(folder):
  import misbehaving

  from offalign.endpoints.client import Client, Failed, Patience

  reply = (folder / "reply.json").read_bytes()
  digits = "".join(filter(str.isdigit, _text_of(folder / "status.txt")))
  status = min(max(int(digits[:3] or "200"), 200), 599)
  if "server" not in _STATE:
    manager = misbehaving.running()
    _STATE["server"] = manager.__enter__()
    import atexit

    atexit.register(manager.__exit__, None, None, None)
  server = _STATE["server"]
  server.judge = lambda *texts: lambda handler: handler.send(status, reply)
  client = Client(
    server.url + "/chat/completions", "KEY", Patience(retries=0), local=True
  )
  body = {
    "messages": [
      {
        "content": "Instruction: x\n\nresponse A (left): y\n\n"
        "response B (right): z"
      }
    ]
  }
  try:
    return client.ask(body)
  except Failed as error:
    raise UserError(str(error)) from None
  finally:
    client.close()


def _text_of(path):
  return path.read_bytes().decode("utf-8", "replace")


def _same_question(folder, found):
  assert found == (folder / "question.txt").read_text(encoding="utf-8")
  for place in ("{prompt}", "{a}", "{b}"):
    assert found.count(place) == 1


@reader(valid_files.question, _same_question)
def read_question(folder):
  from offalign.judges.endpoint.prompt import fill, load

  template = load(str(folder / "question.txt"))
  fill(template, prompt="x", a="y", b="z")
  return template


def _same_rubric(folder, found):
  assert found == (folder / "rubric.txt").read_text(encoding="utf-8")
  for place in ("{prompt}", "{completion}"):
    assert found.count(place) == 1


@reader(valid_files.rubric, _same_rubric)
def read_rubric(folder):
  from offalign.judges.endpoint.prompt import fill
  from offalign.judges.endpoint.rubric import load

  template = load(str(folder / "rubric.txt"))
  fill(template, prompt="x", completion="y", lowest="1", highest="5")
  return template
