"""Every block of code in the pages runs, or says why it is not run."""

import itertools
import json
import os
import pathlib
import shlex
import subprocess
import sys

import doc_pages
import doc_samples
import pytest
import xla_flags
from absl import flags as absl_flags

from offalign.config import Config, presets
from offalign.planning.program import PlanConfig
from offalign.programs import flags

PAGES = doc_pages.pages()
BLOCKS = [block for page in PAGES for block in doc_pages.blocks(page)]
CODE = [block for block in BLOCKS if block.is_code]
LEFT = [block for block in CODE if block.not_run]
CONFIGS = {
  "offalign.train": {"cfg": Config},
  "offalign.plan": {"": PlanConfig, "cfg": Config},
}
RUNNER = pathlib.Path(doc_pages.__file__).with_name("doc_runner.py")


@pytest.fixture(scope="session")
def environment(cache_folder):
  """This environment, with one device and one cache of programs."""
  given = xla_flags.environment()
  here = pathlib.Path(sys.executable).parent
  return given | {
    "PATH": f"{here}{os.pathsep}{given['PATH']}",
    "PYTHONPATH": str(doc_pages.ROOT),
    "JAX_COMPILATION_CACHE_DIR": str(cache_folder),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "HF_HUB_OFFLINE": "1",
  }


@pytest.mark.slow
@pytest.mark.parametrize(
  "page", sorted({block.page for block in CODE if not block.not_run})
)
def test_the_blocks_of_a_page_run(page, tmp_path, environment):
  for name in doc_pages.files(page):
    doc_samples.write(tmp_path, name)
  script = [
    {
      "page": page,
      "line": block.line,
      "language": block.language,
      "text": block.text,
      "commands": doc_pages.commands(block),
    }
    for block in CODE
    if block.page == page and not block.not_run
  ]
  done = subprocess.run(
    [sys.executable, str(RUNNER)],
    input=json.dumps(script),
    cwd=tmp_path,
    env=environment,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"[-4000:]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_has_a_known_language(block):
  known = (*doc_pages.RUN, *doc_pages.SHOWN)
  assert block.language in known, f"{block}: say which of {known} it is"
  assert block.is_code or not block.not_run, f"{block}: is never run anyway"


def flags_of(module, words):
  """What follows `offalign.NAME` or `offalign NAME`; None where neither is."""
  if module in words:
    return words[words.index(module) + 1 :]
  both = list(itertools.pairwise(words))
  pair = tuple(module.split("."))
  return words[both.index(pair) + 2 :] if pair in both else None


@pytest.mark.parametrize("block", LEFT, ids=lambda b: f"{b} {b.not_run}")
def test_what_is_not_run_has_a_reason_and_flags_that_are_there(block):
  assert block.not_run in doc_pages.REASONS
  if block.language == "python":
    compile(block.text, str(block), "exec")
    return
  for command in doc_pages.commands(block):
    words = shlex.split(command, comments=True)
    for module, configs in CONFIGS.items():
      rest = flags_of(module, words)
      if rest is not None:
        values = absl_flags.FlagValues()
        for prefix, config in configs.items():
          flags.define(config, prefix, values)
        given = [word for word in rest if word.startswith("--")]
        values(presets.expand(["-", *given]))


def test_there_are_blocks_that_run_on_the_first_pages():
  ran = {block.page for block in CODE if not block.not_run}
  assert {"README.md", "docs/guides/thumbs-to-model.md"} <= ran


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("```sh\nls\n", "this fence is not closed"),
    ("<!-- not run: takes minutes -->\ntext\n", "a block must follow"),
    ("so:\n\n    python -m this\n", "put code between fences"),
  ],
)
def test_a_page_that_is_not_well_formed_is_refused(text, said):
  with pytest.raises(ValueError, match=rf"docs/x\.md:\d: {said}"):
    doc_pages.blocks("docs/x.md", text)


def test_blocks_are_found_with_their_comments():
  text = (
    "<!-- run with: --steps=2 -->\n```sh\npython -m a \\\n  --b\nls # c\n```\n"
    "\n<!-- not run: takes minutes -->\n\n```python\nx = '```'\n```\n"
    "<!-- run with: --few -->\n```sh\necho a | offalign b\n```\n"
  )
  first, second, third = doc_pages.blocks("docs/x.md", text)
  assert doc_pages.commands(third) == ["echo a | offalign b --few"]
  assert (first.line, first.language, first.not_run) == (2, "sh", None)
  assert doc_pages.commands(first) == ["python -m a    --b --steps=2", "ls # c"]
  assert (second.line, second.not_run) == (10, "takes minutes")
  assert second.text == "x = '```'\n"
