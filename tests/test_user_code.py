"""Modules of the user's: how they are found, and what is said if not."""

import sys

import pytest

from offalign import user_code
from offalign.errors import UserError


def test_a_module_is_found_in_the_current_folder(modules):
  modules("mine_a", "x = 1")
  assert user_code.load("mine_a").x == 1
  modules("mine_b.c", "x = 2")
  assert user_code.load("mine_b.c").x == 2


def test_the_current_folder_does_not_hide_what_is_installed(modules):
  modules("colorsys", "raise RuntimeError('the wrong one')")
  sys.modules.pop("colorsys", None)
  assert user_code.load("colorsys").rgb_to_hsv


def test_the_modules_of_the_option_are_imported_in_order(modules):
  modules("mine_a", "x = 1")
  modules("mine_b", "import sys\nassert 'mine_a' in sys.modules")
  user_code.load_all(" mine_a, mine_b")
  assert {"mine_a", "mine_b"} <= set(sys.modules)
  user_code.load_all(None)
  user_code.load_all("")


@pytest.mark.parametrize(
  ("text", "said"),
  [
    (None, "there is no module 'mine', neither in {here} nor installed"),
    (
      "import no_such_thing",
      "importing mine raised ModuleNotFoundError: No module named "
      "'no_such_thing' (mine.py, line 1)",
    ),
    (
      "x = 1\nx / 0",
      "importing mine raised ZeroDivisionError: division by zero "
      "(mine.py, line 2)",
    ),
    (
      "def f(:",
      "importing mine raised SyntaxError: invalid syntax (mine.py, line 1)",
    ),
    (
      "from offalign import losses\nlosses.get('dop(')",
      "importing mine raised loss spec 'dop(' cannot be read: write it like "
      "'dpo' or 'kto(beta=0.2, threshold=batch)' (mine.py, line 2)",
    ),
  ],
)
def test_a_module_that_cannot_be_had_is_one_sentence(
  modules, tmp_path, text, said
):
  if text is not None:
    modules("mine", text)
  with pytest.raises(UserError) as error:
    user_code.load_all("mine")
  assert str(error.value) == "imports=mine: " + said.format(here=tmp_path)


@pytest.mark.parametrize("name", [".mine", "a b", "mine.py:f", "../mine"])
def test_what_is_no_name_is_refused(modules, name):
  with pytest.raises(UserError, match="is no name of a module: write it like"):
    user_code.load(name)


def test_a_definition_that_ran_twice_is_told_from_another():
  def make():
    def f():
      pass

    return f

  def g():
    pass

  assert user_code.is_redefined(make(), make())
  assert not user_code.is_redefined(make(), g)
  assert not user_code.is_redefined(object(), object())
