"""The names of `import offalign`: a list that changes on purpose alone."""

import inspect
import pathlib
import re
import subprocess
import sys

import pytest

import offalign

NAMES = [
  "Batch",
  "Config",
  "DataConfig",
  "HostsConfig",
  "Kind",
  "Learner",
  "LearnerConfig",
  "LoraConfig",
  "Loss",
  "LossOutput",
  "MeshConfig",
  "Model",
  "OptimizerConfig",
  "Policy",
  "Row",
  "Run",
  "Scores",
  "SelectConfig",
  "Tokenizer",
  "UserError",
  "ValueConfig",
  "compare_runs",
  "compare_sweep",
  "data",
  "leaderboard",
  "load_data",
  "losses",
  "merge_runs",
  "models",
  "run_pipeline",
  "run_sweep",
  "testing",
  "win_rates",
]
"""A name that goes, or changes its meaning, breaks programs of users."""

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "python.md"


def test_the_list_is_as_it_was():
  assert offalign.__all__ == NAMES


def test_the_page_lists_the_same_names():
  table = PAGE.read_text(encoding="utf-8").partition("## All names")[2]
  listed = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
  assert sorted(listed) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_there_and_says_what_it_is(name):
  found = getattr(offalign, name)
  assert inspect.getdoc(found)
  assert name in dir(offalign)


def test_a_name_is_no_programs_name():
  # Importing the module offalign.train would put it in the function's place.
  entries = pathlib.Path(offalign.__file__).parent
  modules = {path.stem for path in entries.glob("*.py")}
  packages = {path.parent.name for path in entries.glob("*/__init__.py")}
  programs = {path.stem for path in (entries / "programs").glob("*.py")}
  taken = {name for name in NAMES if not name[0].isupper()}
  assert not taken & (modules | programs) - packages


def in_a_new_process(code):
  return subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  ).stdout


def test_the_import_brings_nothing_else():
  heavy = in_a_new_process(
    "import sys, offalign; dir(offalign); "
    "print({'jax', 'numpy', 'flax', 'datasets'} & {*sys.modules})"
  )
  assert heavy == "set()\n"


def test_reading_data_brings_no_jax():
  rows = [{"prompt": "a", "completion": "b"}]
  said = in_a_new_process(
    f"import sys, offalign as oa; print(oa.load_data({rows}).summary); "
    "oa.Row; print('jax' in sys.modules)"
  )
  assert said.startswith("the list: 1 row of form 'sft'")
  assert said.endswith("False\n")


def test_the_losses_are_there_as_written():
  said = in_a_new_process(
    "import offalign; print(offalign.losses.get('dro_v')); "
    "print(offalign.losses.get('dro_v', tau=2.0))"
  )
  assert said == "dro_v\ndro_v(tau=2.0)\n"


def test_another_name_is_an_attribute_error():
  with pytest.raises(AttributeError, match="has no attribute 'trian'"):
    offalign.trian  # noqa: B018
