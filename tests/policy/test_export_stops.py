"""`transformers` stops with an exported folder where `offalign` stops."""

import json
import re

import pytest

pytest.importorskip("torch", reason="parity needs offalign[parity]")
pytest.importorskip("transformers", reason="parity needs offalign[parity]")

import transformers
from tiny_folders import (
  END,
  EOS,
  PAD,
  TEMPLATE,
  change_json,
  keep_untrained,
  write_model,
  write_tokenizer,
)

from offalign.models.hf.folder import copy_companions
from offalign.models.lora import LoraConfig
from offalign.policy.policy import Policy
from offalign.training.run import Run

pytestmark = [
  pytest.mark.slow,
  pytest.mark.usefixtures("compiled_once", "one_device"),
]

TEXT, LONGEST = "What is 2 plus 3?", 16
TALK = [{"role": "user", "content": TEXT}]
LORA = LoraConfig(rank=2, targets="out,down")


def ids_of(folder, prompt):
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  if isinstance(prompt, str):
    return tokenizer(prompt, return_tensors="pt")
  return tokenizer.apply_chat_template(
    prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True
  )


def greedy(model, folder, prompt, **options):
  """The new tokens that transformers generates."""
  inputs = ids_of(folder, prompt)
  found = model.generate(
    **inputs, max_new_tokens=LONGEST, do_sample=False, **options
  )
  encoder = model.config.is_encoder_decoder
  return found[0, 1 if encoder else inputs["input_ids"].shape[1] :].tolist()


def first_new(tokens, prompt):
  """Where a token comes that was not there before, but not as the first."""
  for i in range(1, len(tokens)):
    if tokens[i] > 3 and tokens[i] not in {*tokens[:i], *prompt}:
      return i
  raise AssertionError(f"no new token in {tokens}")


def load(folder):
  config = transformers.AutoConfig.from_pretrained(folder)
  auto = transformers.AutoModelForCausalLM
  if config.is_encoder_decoder:
    auto = transformers.AutoModelForSeq2SeqLM
  return auto.from_pretrained(folder, attn_implementation="eager").eval()


def begin(folder, out, **options):
  """A run from a folder, not trained."""
  rows = [
    {"prompt": TEXT, "completion": f"{i}", "reward": float(i)} for i in range(8)
  ]
  given = {
    "loss": "sft",
    "model": str(folder),
    "batch_size": 2,
    "data": {"path": rows, "eval_fraction": 0.0},
  }
  return keep_untrained(Run(out=str(out), **{**given, **options}))


def settings(folder):
  return (
    json.loads((folder / name).read_text())
    for name in ("config.json", "generation_config.json")
  )


@pytest.fixture(
  params=["template", "generation", "config", "own", "t5", "gpt2"]
)
def case(request, tmp_path):
  """A folder, the options of a run, the prompt, and how it is to go on."""
  way = request.param
  folder = tmp_path / "base"
  model = write_model(folder, way if way in ("t5", "gpt2") else "qwen3")
  write_tokenizer(folder)
  prompt, options = TEXT, {}
  if way in ("template", "own"):
    prompt = TALK
    write_tokenizer(folder, template=TEMPLATE)
  given = ids_of(folder, prompt)["input_ids"][0].tolist()
  free = greedy(model, folder, prompt, eos_token_id=None, pad_token_id=0)
  assert len(free) == LONGEST
  last = first_new(free, given)
  end, wanted = free[last], free[: last + 1]
  ends = {"eos_token_id": [1, end]}
  if way == "template":
    write_tokenizer(folder, at=end, template=TEMPLATE)
  elif way == "own":
    # What the model's files say is of another vocabulary.
    write_tokenizer(tmp_path / "own", at=end, template=TEMPLATE, pad=PAD)
    options = {"tokenizer": str(tmp_path / "own")}
    change_json(folder / "generation_config.json", eos_token_id=free[0])
    change_json(folder / "config.json", bos_token_id=7)
  elif way == "generation":
    change_json(folder / "generation_config.json", eos_token_id=end)
    ends = {"eos_token_id": [1, end]}
  else:
    (folder / "generation_config.json").unlink()
    change_json(folder / "config.json", eos_token_id=[end, 1])
  return folder, options, prompt, wanted, ends


def test_a_full_export_stops_as_the_run(case, tmp_path):
  folder, options, prompt, wanted, ends = case
  policy = Policy.load(begin(folder, tmp_path / "run", **options))
  (done,) = policy.generate([prompt], max_new_tokens=LONGEST, temperature=0)
  assert (done.tokens, done.finished) == (len(wanted), True)
  # No end token is in the text.
  assert END not in done.text
  assert EOS not in done.text
  assert policy.tokenizer.decode(wanted[:-1]) == done.text
  out = tmp_path / "out"
  policy.export(out)
  ids = ends | {"pad_token_id": policy.tokenizer.pad_id}
  for found in settings(out):
    assert {key: found[key] for key in ids} == ids
    if options:
      assert "bos_token_id" not in found
  assert greedy(load(out), out, prompt) == wanted


def test_lora_merged_and_alone(tmp_path):
  peft = pytest.importorskip("peft", reason="needs peft")
  folder = tmp_path / "base"
  model = write_model(folder, "qwen3")
  write_tokenizer(folder, template=TEMPLATE)
  given = ids_of(folder, TALK)["input_ids"][0].tolist()
  free = greedy(model, folder, TALK, eos_token_id=None, pad_token_id=0)
  last = first_new(free, given)
  wanted = free[: last + 1]
  write_tokenizer(folder, at=free[last], template=TEMPLATE)
  policy = Policy.load(begin(folder, tmp_path / "run", lora=LORA))
  policy.export(tmp_path / "merged")
  merged = load(tmp_path / "merged")
  assert greedy(merged, tmp_path / "merged", TALK) == wanted

  # As the adapter's README says; without it peft goes on to the limit.
  alone = tmp_path / "alone"
  policy.export(alone, adapter=True)
  plain = peft.PeftModel.from_pretrained(load(folder), alone)
  assert greedy(plain, alone, TALK) == free
  text = (alone / "README.md").read_text()
  (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
  names = {}
  exec(code.replace('folder = "."', f"folder = {str(alone)!r}"), names)
  assert greedy(names["model"], alone, TALK) == wanted


def test_what_peft_users_must_know_is_said(tmp_path, capsys):
  folder = tmp_path / "base"
  write_model(folder, "qwen3")
  write_tokenizer(folder, template=TEMPLATE)
  policy = Policy.load(begin(folder, tmp_path / "run", lora=LORA))
  policy.export(tmp_path / "a", adapter=True)
  assert "do not stop at [1, 3] as training did" in capsys.readouterr().out
  policy.export(tmp_path / "b", adapter=True, verbose=False)
  assert capsys.readouterr().out == ""


def test_a_name_on_the_hub(tmp_path, monkeypatch):
  snapshot = tmp_path / "snapshot"
  write_model(snapshot, "qwen3")
  write_tokenizer(snapshot, template=TEMPLATE)
  change_json(snapshot / "generation_config.json", eos_token_id=[2, 1])
  import huggingface_hub

  monkeypatch.setattr(
    huggingface_hub, "snapshot_download", lambda *args, **more: str(snapshot)
  )
  run = begin("someone/tiny", tmp_path / "run")
  Policy.load(run).export(tmp_path / "out")
  for found in settings(tmp_path / "out"):
    assert found["eos_token_id"] == [1, 3, 2]


def test_a_run_that_goes_on_from_another_keeps_its_ends(tmp_path):
  folder = tmp_path / "base"
  write_model(folder, "qwen3")
  write_tokenizer(folder)
  change_json(folder / "generation_config.json", eos_token_id=[1, 9])
  parent = begin(folder, tmp_path / "parent")
  child = begin(folder, tmp_path / "child", model=None, init=str(parent))
  Policy.load(child).export(tmp_path / "out")
  for found in settings(tmp_path / "out"):
    assert found["eos_token_id"] == [1, 9]
  # What is exported can be begun with again.
  again = begin(tmp_path / "out", tmp_path / "again")
  assert Policy.load(again).tokenizer.end_ids == (1, 9)


def test_what_else_the_base_generates_by_stays(tmp_path):
  folder = tmp_path / "base"
  write_model(folder, "qwen3")
  write_tokenizer(folder)
  change_json(folder / "generation_config.json", top_p=0.8, temperature=0.6)
  Policy.load(begin(folder, tmp_path / "run")).export(tmp_path / "out")
  _, found = settings(tmp_path / "out")
  assert (found["top_p"], found["temperature"]) == (0.8, 0.6)
  assert "_from_model_config" not in found
  before, after = tmp_path / "x", tmp_path / "y"
  for source, target in ((folder, before), (tmp_path / "out", after)):
    target.mkdir()
    copy_companions(source, target)
  for name in ("tokenizer.json", "tokenizer_config.json"):
    assert (before / name).read_bytes() == (after / name).read_bytes()
