"""Valid files of every kind that is read, small: what mutants are made of."""

import contextlib
import csv
import dataclasses
import functools
import gzip
import io
import json
import pathlib
import sqlite3
import tempfile

import board_cases
import chat_cases
import datasets
import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import runs

from offalign.config import presets
from offalign.endpoints.answers import Answer, Answers
from offalign.leaderboard import Meta
from offalign.models import hf
from offalign.models.hf import t5_family
from offalign.models.t5.config import T5Config
from offalign.reference.store import Store

LLAMA = {
  "architectures": ["LlamaForCausalLM"],
  "attention_bias": False,
  "attention_dropout": 0.0,
  "bos_token_id": 1,
  "eos_token_id": [2, 3],
  "initializer_range": 0.02,
  "pad_token_id": None,
  "pretraining_tp": 1,
  "torch_dtype": "float32",
  "transformers_version": "4.43.1",
  "use_cache": True,
  "hidden_act": "silu",
  "hidden_size": 8,
  "intermediate_size": 12,
  "max_position_embeddings": 64,
  "model_type": "llama",
  "num_attention_heads": 2,
  "num_hidden_layers": 2,
  "num_key_value_heads": 1,
  "rms_norm_eps": 1e-05,
  "rope_theta": 10000.0,
  "tie_word_embeddings": False,
  "vocab_size": 16,
}
TINY_T5 = T5Config(
  vocab_size=16,
  width=8,
  layers=1,
  decoder_layers=1,
  heads=2,
  head_dim=4,
  mlp_width=12,
  buckets=8,
  max_distance=12,
)
_TURNS = [
  {"role": "system", "content": "You help."},
  {"role": "user", "content": "What is 2 and 2?"},
]
ROWS = {
  "traj": [
    {"prompt": f"is {i} odd?", "completion": f"yes {i}", "reward": i / 2}
    for i in range(6)
  ],
  "label": [
    {"prompt": f"is {i} odd?", "completion": "é yes", "label": i % 2 == 1}
    for i in range(6)
  ],
  "pairs": [
    {
      "prompt": "say <b>hi</b>",
      "chosen": f"hi {i}",
      "rejected": "no",
      "chosen_reward": 1.5,
      "rejected_reward": -i,
      "id": i,
    }
    for i in range(6)
  ],
  "talk": [
    {
      "prompt": _TURNS,
      "chosen": [{"role": "assistant", "content": f"{i}"}],
      "rejected": [{"role": "assistant", "content": "five"}],
    }
    for i in range(4)
  ],
  "groups": [
    {"prompt": f"{i}", "completions": ["a", "b", "c"], "rewards": [0, 1, i]}
    for i in range(4)
  ],
  "messages": [
    {"messages": [*_TURNS, {"role": "assistant", "content": f"{i}"}]}
    for i in range(4)
  ],
}
SPECS = (
  "dpo(beta=0.2)",
  "kto(beta=0.2, threshold=batch)",
  "dro_v(tau=1.0)",
  "dpo(beta=0.3) + 0.2*sft",
  "simpo(beta=2.0, gamma_beta_ratio=0.5)",
  "bradley_terry(margin=1.0)",
)
MODELS = (
  "decoder(width=16, layers=11, heads=2)",
  "t5(width=128, layers=12, heads=4, head_dim=64)",
)
CHAT = {
  "choices": [
    {
      "index": 0,
      "message": {"role": "assistant", "content": "A"},
      "finish_reason": "stop",
    }
  ],
  "usage": {"prompt_tokens": 7, "completion_tokens": 1},
}
REFUSED = {"error": {"message": "not this", "code": "content_filter"}}


def lines(rows):
  return "".join(json.dumps(row) + "\n" for row in rows).encode()


def jsonl():
  return [{"data.jsonl": lines(rows)} for rows in ROWS.values()]


def gzipped():
  return [
    {"data.jsonl.gz": gzip.compress(lines(ROWS[form]), mtime=0)}
    for form in ("traj", "talk")
  ]


def parquet():
  made = []
  for form in ("traj", "pairs", "talk", "groups"):
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS[form]), out)
    made.append({"data.parquet": out.getvalue()})
  return made


def arrays():
  """JSON arrays, and a list of objects on one line."""
  return [
    {"data.json": json.dumps(ROWS[form], indent=indent).encode()}
    for form, indent in (("traj", None), ("pairs", 2), ("talk", 1))
  ]


def tables_of_text():
  """CSV and TSV files: rows of numbers, of labels, and of quoted lines."""
  made = []
  for name, sign in (("data.csv", ","), ("data.tsv", "\t")):
    for column, values in (
      ("reward", ("0.5", "-2")),
      ("label", ("true", "false")),
    ):
      out = io.StringIO()
      writer = csv.writer(out, delimiter=sign, lineterminator="\n")
      writer.writerow(["prompt", "completion", column])
      for i, value in enumerate(values * 3):
        writer.writerow([f"is {i}, odd?", f"a {i}\nand so", value])
      made.append({name: out.getvalue().encode()})
  return made


def arrow_files():
  made = []
  for form in ("traj", "talk"):
    out = io.BytesIO()
    table = pa.Table.from_pylist(ROWS[form])
    with pa.ipc.new_stream(out, table.schema) as writer:
      writer.write_table(table)
    made.append({"data.arrow": out.getvalue()})
  return made


def saved_data(folder):
  """What `save_to_disk` writes."""
  datasets.Dataset.from_list(ROWS["traj"]).save_to_disk(str(folder / "saved"))
  return [runs.contents(folder / "saved")]


def databases(folder):
  """A database of SQLite with one table."""
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / "data.db"
  with contextlib.closing(sqlite3.connect(path)) as base, base:
    base.execute("CREATE TABLE log (prompt TEXT, completion TEXT, reward REAL)")
    base.executemany(
      "INSERT INTO log VALUES (?, ?, ?)",
      [(f"is {i} odd?", f"a {i}", i / 2) for i in range(6)],
    )
  return [{"data.db": path.read_bytes()}]


COLUMNS = (
  "completion=response, reward=feedback.score",
  "label=thumb:up/down/none, prompt=question, completion=answer",
  'completion="answer, final", reward=stars',
  "label=stars:4|5/1|2/3",
)


def column_maps():
  return [{"columns.txt": text.encode()} for text in COLUMNS]


def end_settings(folder):
  """A tokenizer, and how a model beside it names end tokens."""
  at = chat_cases.write(folder / "own", chat_cases.TEMPLATES["chatml"], "bytes")
  plain = runs.contents(at)
  return [
    plain
    | {
      "generation_config.json": json.dumps(one).encode(),
      "config.json": json.dumps(two).encode(),
    }
    for one, two in (
      ({"eos_token_id": [1, 3], "pad_token_id": 0}, {"eos_token_id": 2}),
      ({"eos_token_id": 5}, {"eos_token_id": [5, 6], "model_type": "llama"}),
    )
  ]


def tokenizer(folder):
  made = []
  for kind, name in (("bytes", "chatml"), ("words", "llama")):
    at = chat_cases.write(folder / kind, chat_cases.TEMPLATES[name], kind)
    made.append(runs.contents(at))
  template = {"chat_template": chat_cases.MISTRAL}
  at = chat_cases.write(folder / "inside", None, **template)
  return [*made, runs.contents(at)]


def templates():
  return [
    {"chat_template.jinja": text.encode()}
    for text in chat_cases.TEMPLATES.values()
  ]


def _weights(model):
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32),
    jax.eval_shape(model.init, jax.random.key(0)),
  )


def model_folder(folder):
  """A Llama in one file, a T5 in several."""
  t5 = t5_family.to_hf(TINY_T5)
  made = []
  for name, config, size in (("a", LLAMA, 2**30), ("b", t5, 2000)):
    model = hf.describe(config, spec=f"hf:{name}", tied=False)
    at = folder / name
    at.mkdir(parents=True)
    hf.write(at, config, model, _weights(model), max_shard_size=size)
    made.append(runs.contents(at))
  return made


def configs():
  gemma = LLAMA | {
    "architectures": ["Gemma2ForCausalLM"],
    "model_type": "gemma2",
    "head_dim": 4,
    "query_pre_attn_scalar": 4,
    "sliding_window": 8,
    "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0,
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
  }
  scaled = LLAMA | {
    "rope_scaling": {
      "rope_type": "llama3",
      "factor": 8.0,
      "low_freq_factor": 1.0,
      "high_freq_factor": 4.0,
      "original_max_position_embeddings": 32,
    }
  }
  every = (LLAMA, gemma, scaled, t5_family.to_hf(TINY_T5))
  return [{"config.json": json.dumps(each).encode()} for each in every]


@functools.cache
def _run_folder():
  with tempfile.TemporaryDirectory() as folder:
    return _trained(pathlib.Path(folder))


def run_folder():
  """What a run of four steps has written."""
  return dict(_run_folder())


def _trained(folder):
  log = runs.write_log(folder / "log.jsonl")
  with_scales = runs.config(log, folder / "run", data__normalize_rewards=True)
  run = runs.Run(dataclasses.replace(with_scales, loss="dro_v(tau=1.0)"))
  run.train(verbose=False)
  return runs.contents(folder / "run")


def boards():
  rows = [row.to_json() for row in board_cases.page_rows()]
  point = {"name": "best of 4", "tau": 1.0, "kl": 0.5, "reward_gain": 0.2}
  meta = {"title": "Board", "notes": ["one"], "oracle": {"ops": [point]}}
  assert meta.keys() <= {f.name for f in dataclasses.fields(Meta)}
  text = "".join(row + "\n" for row in rows[:4] + rows[-5:])
  return [{"rows.jsonl": text.encode(), "meta.json": json.dumps(meta).encode()}]


def completions():
  rows = [{"prompt": "hi", "completion": "ho"} for _ in range(3)]
  rows += [{"prompt": _TURNS, "completion": "four", "finished": True}]
  return [{"completions.jsonl": lines(rows)}]


def answers(folder):
  path = folder / "answers.sqlite"
  kept = Answers(path)
  for key in ("one", "two"):
    kept.put(key, Answer(f"{key} A", False, 3, 1))
  kept.close()
  with sqlite3.connect(path) as file:
    assert file.execute("select count(*) from answers").fetchone() == (2,)
  return [{path.name: path.read_bytes()}]


def replies():
  return [
    {"reply.json": json.dumps(reply).encode(), "status.txt": status}
    for reply, status in ((CHAT, b"200"), (REFUSED, b"400"))
  ]


def question():
  text = "Judge.\n{prompt}\nA: {a}\nB: {b}\nAnswer A, B or C."
  return [{"question.txt": text.encode()}]


def rubric():
  text = "Grade.\n{prompt}\nReply: {completion}\nFrom {lowest} to {highest}."
  return [{"rubric.txt": text.encode()}]


def preset_files():
  folder = pathlib.Path(presets.__file__).parent
  return [
    {"preset.toml": path.read_bytes()} for path in sorted(folder.glob("*.toml"))
  ]


def reference(folder):
  store = Store(folder / "reference", "some weights")
  store.add([f"{i:032x}" for i in range(5)], np.arange(5, dtype=np.float32))
  store.flush()
  return [runs.contents(folder / "reference")]


def specs():
  return [{"spec.txt": spec.encode()} for spec in SPECS]


def model_specs():
  return [{"spec.txt": spec.encode()} for spec in MODELS]
