"""Names of models: folders first, the hub only where there is none."""

import socket

import huggingface_hub
import pytest

from offalign.errors import UserError
from offalign.models import hf
from offalign.models.hf import hub
from offalign.policy import origin


@pytest.fixture(autouse=True)
def _forget():
  hub.find_folder.cache_clear()
  yield
  hub.find_folder.cache_clear()


def test_a_folder_never_touches_the_network(t5_folder, monkeypatch):
  def connect(*_):
    raise AssertionError("the network was used")

  monkeypatch.setattr(socket.socket, "connect", connect)
  monkeypatch.setattr(huggingface_hub, "snapshot_download", connect)
  found = hub.find_folder(str(t5_folder))
  assert found == t5_folder
  hf.load(found)


def test_a_folder_named_like_a_hub_model(t5_folder, tmp_path, monkeypatch):
  (tmp_path / "google").mkdir()
  t5_folder.rename(tmp_path / "google" / "flan-t5-small")
  monkeypatch.chdir(tmp_path)
  assert (hub.find_folder("google/flan-t5-small") / "config.json").is_file()


def test_only_what_is_needed_is_downloaded(t5_folder, monkeypatch):
  asked = []

  def download(name, *, allow_patterns):
    asked.append((name, allow_patterns))
    return str(t5_folder)

  monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
  assert hub.find_folder("google/flan-t5-small") == t5_folder
  assert hub.find_folder("google/flan-t5-small") == t5_folder
  [(name, patterns)] = asked
  assert name == "google/flan-t5-small"
  files = [
    "config.json",
    "model.safetensors",
    "model-00001-of-00002.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "spiece.model",
    "pytorch_model.bin",
    "consolidated.safetensors",
    "training_args.pt",
    "onnx/model.safetensors",
    "modeling.py",
  ]
  assert (
    list(
      huggingface_hub.utils.filter_repo_objects(files, allow_patterns=patterns)
    )
    == files[:6]
  )


def test_offline_is_one_sentence():
  assert huggingface_hub.constants.HF_HUB_OFFLINE
  with pytest.raises(UserError) as raised:
    hub.find_folder("google/no-such-model-of-any-kind")
  message = str(raised.value)
  assert message.startswith("'google/no-such-model-of-any-kind' is no folder")
  assert "download it where there is a network" in message
  assert "\n" not in message


@pytest.mark.parametrize(
  "name", ["/no/such/folder", "./nothing", "a/b/c", "../x", "a/", "gpt2"]
)
def test_what_cannot_be_a_hub_model_is_not_asked_for(name, monkeypatch):
  monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
  with pytest.raises(UserError, match="there is no model folder"):
    hub.find_folder(name)


def test_a_file_is_no_folder(t5_folder):
  with pytest.raises(UserError, match="name the folder that it is in"):
    hub.find_folder(str(t5_folder / "model.safetensors"))


def test_what_is_a_name_and_what_a_spec(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "decoder").mkdir()
  (tmp_path / "mine").mkdir()
  assert origin.is_named("google/flan-t5-small")
  assert origin.is_named("mine")
  assert origin.is_named("./decoder")
  assert not origin.is_named("decoder")
  assert not origin.is_named("t5(width=64)")
