"""The GPU benchmark, tiny and on a CPU, without what such machines lack."""

import importlib.abc
import json
import os
import pathlib
import subprocess
import sys
import typing

import jax
import pytest

from benchmarks.gpu import (
  attention,
  devices,
  flops,
  sentiment,
  sizes,
  steps,
  training,
)
from benchmarks.gpu.__main__ import PARTS, main
from benchmarks.gpu.flops import Tokens

ABSENT = ("datasets", "trl", "liger_kernel", "tensorboardX", "httpx2")
RUN = pathlib.Path(__file__).parents[2] / "benchmarks" / "gpu" / "run.sh"


class Absent(importlib.abc.MetaPathFinder):
  """Packages that are not installed."""

  def find_spec(self, name, path=None, target=None):
    if name.split(".")[0] in ABSENT:
      raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def bare(monkeypatch):
  """Without the packages that a bare GPU machine does not have."""
  for name in list(sys.modules):
    if name.split(".")[0] in ABSENT:
      monkeypatch.delitem(sys.modules, name)
  monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
  monkeypatch.setattr(training.importlib.util, "find_spec", lambda name: None)


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once", "bare")
def test_every_part_runs_tiny_and_leaves_its_page(tmp_path, capsys):
  assert main(["--part=all", "--tiny", f"--out={tmp_path}"]) == 0
  assert "sentiment is left out: it needs --weights" in capsys.readouterr().out
  for part in PARTS[:-1]:
    text = (tmp_path / f"{part}.md").read_text()
    found = json.loads((tmp_path / f"{part}.json").read_text())
    assert "* command: benchmarks/gpu/run.sh --part=all --tiny" in text
    assert f"* jax: {jax.__version__}" in text
    assert "* device: cpu" in text
    assert found["results"]
    assert not found["failed"]
  check = json.loads((tmp_path / "check.json").read_text())["results"]["check"]
  kinds = ("golden", "float64", "T5", "bfloat16, against", "resumption")
  assert all(any(kind in name for name in check) for kind in kinds)
  page = (tmp_path / "t5.md").read_text()
  assert "Where the time goes: " in page
  assert "The peak rate of 'cpu' is not in benchmarks/gpu/devices.py" in page


def test_wrong_figures_fail_the_check(tmp_path, monkeypatch):
  from benchmarks.gpu import checks
  from benchmarks.gpu.page import Page

  def wrong(check, tiny):
    assert tiny
    check("a thing", float("nan"), 1.0)
    check("another", 0.5, 1.0)

  for name in ("_losses", "_logits", "_steps_alike", "_paths", "_resumes"):
    monkeypatch.setattr(checks, name, lambda check, tiny: None)
  monkeypatch.setattr(checks, "_losses", wrong)
  report = Page("check", "command", tmp_path)
  checks.run(report, True, tmp_path)
  assert report.failed
  text = (tmp_path / "check.md").read_text()
  assert "| a thing | nan | 1 | WRONG |" in text
  assert "| another | 0.5 | 1 | right |" in text


def test_flags_and_peers_are_said(tmp_path, capsys, bare):
  assert main(["--part=check", "--weights=x", f"--out={tmp_path}"]) == 2
  assert "--weights has no effect with --part=check" in capsys.readouterr().err
  assert main(["--part=sentiment", "--weights=x", f"--out={tmp_path}"]) == 2
  said = capsys.readouterr().err
  assert "needs tensorboardX, httpx2, vaderSentiment: carry their wh" in said
  assert training.missing() == ["trl", "datasets", "accelerate"]
  subprocess.run(["bash", "-n", RUN], check=True)
  assert RUN.stat().st_mode & 0o100


def test_a_wheel_that_was_forgotten_is_named(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(sentiment.importlib.util, "find_spec", lambda name: name)
  monkeypatch.setitem(sys.modules, "benchmarks.sentiment.cli", None)
  monkeypatch.delattr("benchmarks.sentiment.cli", raising=False)
  assert main(["--part=sentiment", "--weights=x", f"--out={tmp_path}"]) == 2
  said = capsys.readouterr().err
  assert "cannot begin (" in said
  assert "benchmarks.sentiment.cli" in said
  assert "carry the wheel of that too" in said


def test_wheels_go_where_dill_takes_them_for_libraries(tmp_path):
  (tmp_path / "a.whl").touch()
  python = tmp_path / "python"
  python.write_text('#!/bin/sh\necho "$PYTHONPATH|$*"\n')
  python.chmod(0o755)
  words = [RUN, "--part=dpo", f"--wheels={tmp_path}"]
  env = {**os.environ, "PYTHON": str(python)}
  said = subprocess.run(
    words, env=env, check=True, capture_output=True, text=True
  ).stdout
  installed, ran = said.splitlines()
  folder = ran.split(":")[0]
  assert folder.endswith("/site-packages")
  assert f"--target {folder} {tmp_path}/a.whl" in installed
  assert ran.endswith("|-m benchmarks.gpu --part=dpo")
  assert not pathlib.Path(folder).parent.exists()


@pytest.mark.parametrize(
  ("name", "flops"),
  [
    ("NVIDIA H100 80GB HBM3", 989e12),
    ("NVIDIA H100 PCIe", 756e12),
    ("NVIDIA A100-SXM4-80GB", 312e12),
    ("TPU v5 lite", 197e12),
    ("cpu", None),
  ],
)
def test_devices_have_the_rates_of_their_makers(name, flops):
  found = devices.rates(name)
  assert (found and found.flops) == flops
  if flops:
    assert devices.mfu(flops, 4.0, name) == 0.25


def test_flops_of_a_decoder_are_those_counted_by_hand():
  config, tokens = sizes.TINY, Tokens(3, 2, 8, 4)
  width, mlp, vocab, heads, size = 32, 48, 128, 2, 16
  block = 2 * width * heads * size + 2 * width * size + 3 * width * mlp
  products = (3 * 8 + 6 * 4) * block + 6 * 4 * width * vocab
  scores = heads * size * (3 * 8**2 / 2 + 6 * (4**2 / 2 + 4 * 8))
  model = steps.model_of(config, "tiny")
  found = flops.of_step(model, config, tokens, value=False)
  assert found == 6 * (products + 2 * scores)


def test_flops_of_a_t5_and_its_value_are_those_counted_by_hand():
  config, tokens = sizes.TINY_T5, Tokens(3, 1, 8, 4)
  width, mlp, vocab = 32, 48, 128
  attend, net = 4 * width**2, 3 * width * mlp
  read, written = 3 * 8, 3 * 4
  reader = read * (attend + net + 2 * width**2)
  decoder = attend + net + 2 * width**2
  products = 2 * reader + written * (decoder + width * vocab) + 3 * decoder
  scores = width * (2 * 3 * 8**2 + 3 * (4**2 / 2 + 4 * 8) + 3 * 8)
  model = steps.model_of(config, "tiny")
  found = flops.of_step(model, config, tokens, value=True)
  assert found == 6 * (products + 2 * scores)


def test_paths_of_attention_are_those_of_the_option(monkeypatch):
  hint = typing.Literal["auto", "dense", "blockwise"] | None
  monkeypatch.setattr(
    attention.typing, "get_type_hints", lambda of: {"attention": hint}
  )
  assert attention.paths() == ("dense", "blockwise")
  monkeypatch.setattr(attention.typing, "get_type_hints", lambda of: {})
  assert attention.paths() == ("dense",)
