"""Open a Hugging Face model folder: config.json and safetensors.

No pickle is ever opened: a folder whose weights are pickles alone is
refused.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from offalign.errors import UserError
from offalign.files import read_object
from offalign.models.hf import multimodal
from offalign.models.hf.tensor_files import Tensor, read_header

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

GENERATION = "generation_config.json"
TOKENIZER = (
  "added_tokens.json",
  "chat_template.jinja",
  "chat_template.json",
  "merges.txt",
  "sentencepiece.bpe.model",
  "special_tokens_map.json",
  "spiece.model",
  "tokenizer.json",
  "tokenizer.model",
  "tokenizer_config.json",
  "vocab.json",
  "vocab.txt",
)
MORE_TEMPLATES = "additional_chat_templates"
"""Folder of the chat templates other than the default one."""

COMPANIONS = (GENERATION, *TOKENIZER)
"""Files that belong to a model beside its config and weights."""

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
_SAMPLES = 16  # places of a tensor that a fingerprint looks at
_SAMPLE = 256  # bytes of each


@dataclasses.dataclass(frozen=True)
class Folder:
  """A model folder whose files' headers have been checked.

  Attributes:
    path: the folder.
    config: the parsed config.json.
    tensors: name -> place of the tensor's bytes.
    images: names of the tensors for images, which are left alone; None for a
      folder of text alone.
  """

  path: Path
  config: dict[str, Any]
  tensors: dict[str, Tensor]
  images: list[str] | None = None

  @property
  def fingerprint(self) -> str:
    """Hash of the weights; 16 hex digits.

    It covers config.json, the headers, and 16 places of every tensor.
    Training changes a tensor everywhere, so a few places suffice and a
    checkpoint of many gigabytes is not read twice.
    """
    digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
    tensors = sorted(self.tensors.values(), key=lambda t: (t.file, t.start))
    for file, group in itertools.groupby(tensors, key=lambda t: t.file):
      with file.open("rb") as stream:
        for tensor in group:
          about = (tensor.name, tensor.dtype, tensor.shape)
          digest.update(repr(about).encode())
          for i in range(_SAMPLES):
            at = tensor.nbytes * i // _SAMPLES
            stream.seek(tensor.start + at)
            digest.update(stream.read(min(_SAMPLE, tensor.nbytes - at)))
    return digest.hexdigest()[:16]


def open_folder(path: Path) -> Folder:
  """Reads a folder's config.json and the headers of its weights.

  Raises:
    UserError: if anything is missing or wrong; names the file.
  """
  raw = _read_raw(path)
  config = multimodal.text_config(raw)
  files = _files(path)
  tensors: dict[str, Tensor] = {}
  for file in files:
    if not file.is_file():
      raise UserError(f"{path / INDEX} names {file.name}, which is not there")
    for name, tensor in read_header(file).items():
      if name in tensors:
        raise UserError(
          f"tensor {name!r} is both in {tensors[name].file} and in {file}"
        )
      tensors[name] = tensor
  if files and files[0].name != SINGLE:
    _check_index(path, tensors)
  if config is raw:
    return Folder(path, config, tensors)
  text, images = multimodal.text_tensors(tensors)
  return Folder(path, config, text, images)


def read_config(path: Path) -> dict[str, Any]:
  """Reads and parses the config.json of a folder.

  Of a Gemma 3 for images and text, that is the config of its text model.

  Raises:
    UserError: if it is missing or is no JSON object.
  """
  return multimodal.text_config(_read_raw(path))


def _read_raw(path: Path) -> dict[str, Any]:
  file = path / CONFIG
  if not file.is_file():
    raise UserError(f"{path} is no model folder: it has no {CONFIG}")
  return read_object(file)


def _files(path: Path) -> list[Path]:
  """Lists the files that hold the weights."""
  if (path / SINGLE).is_file():
    return [path / SINGLE]
  if (path / INDEX).is_file():
    return [path / name for name in sorted(set(_read_index(path).values()))]
  pickles = sorted(f.name for kind in _PICKLES for f in path.glob(kind))
  if pickles:
    raise UserError(
      f"{path} holds its weights in {pickles[0]} and not as safetensors; such "
      "files can run code when they are opened, so they are not read. If you "
      "trust it, convert it where torch and transformers are: "
      "AutoModel...from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
    )
  raise UserError(
    f"{path} has no weights: neither {SINGLE} nor {INDEX} is there"
  )


def _read_index(path: Path) -> dict[str, str]:
  """Reads {tensor: file} from the index of a checkpoint in several files."""
  file = path / INDEX
  names = read_object(file).get("weight_map")
  if not isinstance(names, dict) or not names:
    raise UserError(f"{file} has no 'weight_map' of tensors to files")
  for tensor, name in names.items():
    # A name is of a file beside the index: nothing else is ever opened.
    if (
      not isinstance(name, str)
      or not name.endswith(".safetensors")
      or any(c in name for c in "/\\\0")
      or len(name.encode("utf-8", "replace")) > 255
      or name.startswith(".")
    ):
      raise UserError(
        f"{file}: tensor {tensor!r} is said to be in {name!r:.80}, which is "
        "not the name of a safetensors file in that folder"
      )
  return names


def _check_index(path: Path, tensors: dict[str, Tensor]) -> None:
  index = _read_index(path)
  for name, file in index.items():
    if name not in tensors or tensors[name].file.name != file:
      raise UserError(
        f"{path / INDEX} says that tensor {name!r} is in {file}, where it is "
        "not"
      )
  for name, tensor in tensors.items():
    if name not in index:
      raise UserError(
        f"{tensor.file} holds tensor {name!r}, which {INDEX} does not list"
      )


def copy_companions(
  source: Path, folder: Path, *, tokenizer: bool = True
) -> None:
  """Copies the files beside the weights that exist.

  Args:
    source: the folder to copy from.
    folder: the folder to copy to.
    tokenizer: whether the tokenizer's files are copied too.
  """
  for name in COMPANIONS if tokenizer else (GENERATION,):
    if (source / name).is_file():
      shutil.copyfile(source / name, folder / name)
  templates = source / MORE_TEMPLATES
  if tokenizer and templates.is_dir():
    shutil.copytree(templates, folder / MORE_TEMPLATES, dirs_exist_ok=True)


@contextlib.contextmanager
def whole_or_nothing(folder: Path) -> Iterator[Path]:
  """Yields a temporary folder that is renamed to `folder` on success.

  Raises:
    UserError: if `folder` exists and is not an empty folder.
  """
  folder = folder.absolute()
  if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
    raise UserError(f"{folder} is there already; name a new folder")
  folder.parent.mkdir(parents=True, exist_ok=True)
  part = folder.parent / f".{folder.name}-{uuid.uuid4().hex[:8]}"
  part.mkdir()
  try:
    yield part
    part.replace(folder)
  except BaseException:
    shutil.rmtree(part, ignore_errors=True)
    raise
