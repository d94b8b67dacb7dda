import pytest

from offalign.errors import UserError
from offalign.sweeping import grid


def made(seeds=2, **settings):
  named = {name.replace("__", "."): x for name, x in settings.items()}
  return grid.make(grid.read(named), seeds)


def test_cells_are_the_product_of_the_axes_and_the_seeds():
  axes, cells = made(
    loss="dro_v(tau={0.3,1})", optimizer__learning_rate="{1e-5,1e-4}", steps=4
  )
  assert [(axis.name, axis.option) for axis in axes] == [
    ("tau", "loss"),
    ("learning_rate", "optimizer.learning_rate"),
  ]
  assert len(cells) == 8
  assert cells[0].name == "tau=0.3_learning_rate=1e-5_seed=0"
  assert cells[1].name == "tau=0.3_learning_rate=1e-5_seed=1"
  assert cells[-1].label == "tau=1, learning_rate=1e-4"
  assert cells[-1].options == {
    "loss": "dro_v(tau=1)",
    "optimizer.learning_rate": "1e-4",
  }


def test_a_list_of_python_keeps_the_types_of_its_values():
  _, cells = made(1, optimizer__learning_rate=[1e-5, 1e-4])
  values = [cell.options["optimizer.learning_rate"] for cell in cells]
  assert values == [1e-5, 1e-4]
  assert cells[0].name == "learning_rate=1e-05_seed=0"


def test_without_braces_the_seeds_alone_differ():
  axes, cells = made(3, loss="dpo")
  assert axes == ()
  assert [cell.name for cell in cells] == ["seed=0", "seed=1", "seed=2"]
  assert {cell.label for cell in cells} == {""}


def test_names_of_folders_are_distinct_short_and_without_odd_letters():
  long = "x" * 300
  _, cells = made(1, loss="{dro_v(tau=1),dro_v(tau:1),DRO_v(tau=1)}")
  names = [cell.name for cell in cells]
  assert len({name.lower() for name in names}) == 3
  assert not set("()/ ,:'") & set("".join(names))
  _, cells = made(1, data__path=f"{{{long}1,{long}2}}")
  names = [cell.name for cell in cells]
  assert len(set(names)) == 2
  assert max(map(len, names)) < 130


def test_two_axes_of_one_name_are_numbered():
  axes, cells = made(1, loss="dpo(beta={1,2}) + 0.1*simpo(beta={3,4})")
  assert [axis.name for axis in axes] == ["beta1", "beta2"]
  assert cells[0].name == "beta1=1_beta2=3_seed=0"


@pytest.mark.parametrize(
  ("settings", "sentence"),
  [
    ({"out": "{a,b}"}, "out has braces, of which a sweep has one"),
    ({"seed": "{1,2}"}, "a sweep counts its seeds from 0"),
    ({"data.split_seed": "{1,2}"}, "one for all cells"),
    ({"data.cache": "{a,b}"}, "which all cells share"),
    ({"loss": "dpo(beta={1"}, "loss: 'dpo"),
    ({"optimizer.learning_rate": []}, "a list of no value"),
  ],
)
def test_what_may_not_differ_is_refused_by_name(settings, sentence):
  with pytest.raises(UserError, match=sentence):
    grid.make(grid.read(settings), 1)


def test_there_is_at_least_one_seed():
  with pytest.raises(UserError, match="seeds must be at least 1, not 0"):
    made(0, loss="dpo")
