"""What is drawn: every loss, from its own ranges, the same each time."""

import pytest

from benchmarks import methods
from benchmarks.tuning import ranges
from offalign import losses
from offalign.errors import UserError


def test_every_loss_that_trains_a_policy_has_a_line():
  found = {line.loss for line in ranges.lines()}
  assert found == {
    name for name in losses.names() if methods.why_not(name) is None
  }
  names = [line.name for line in ranges.lines()]
  assert len(set(names)) == len(names)


@pytest.mark.parametrize("line", ranges.lines(), ids=lambda line: line.name)
def test_draws_lie_in_their_ranges_and_more_of_them_begin_alike(line):
  drawn = line.draws(8)
  assert line.draws(3) == drawn[:3]
  assert len({(m.loss, m.learning_rate) for m in drawn}) == 8
  stated = line.ranges()
  for method in drawn:
    assert method.name == line.name
    rate = stated.pop("learning_rate", ranges.LEARNING_RATE)
    assert rate.low * 0.999 <= method.learning_rate <= rate.high * 1.001
    options = losses.get(method.loss).options
    for key, value in line.fixed:
      assert options[key] == value
    for key, drawn_from in stated.items():
      if key == "value_times":
        times = method.value_learning_rate / method.learning_rate
        assert any(abs(times / x - 1) < 0.01 for x in drawn_from.values)
      else:
        assert drawn_from.low * 0.999 <= options[key] <= drawn_from.high * 1.001
  if "value_times" not in stated:
    assert all(method.value_learning_rate is None for method in drawn)


def test_an_option_that_is_no_options_of_a_loss_is_found():
  for name, own in ranges.OPTIONS.items():
    assert set(own) <= set(losses.get(name).options), name


def test_only_a_loss_of_rewards_alone_has_nothing_of_its_own_to_tune():
  bare = [
    x.name for x in ranges.lines() if set(x.ranges()) == {"learning_rate"}
  ]
  assert bare == ["sft on desirable"]


@pytest.mark.parametrize(
  ("wanted", "names"),
  [
    ("kto", ["kto, batch threshold", "kto, prompt threshold"]),
    ("kto, prompt threshold", ["kto, prompt threshold"]),
    ("dro_v, one V,dpo", ["dro_v, one V", "dpo"]),
  ],
)
def test_lines_are_chosen_by_name_or_loss(wanted, names):
  assert [line.name for line in ranges.choose(wanted, ["decoder"])] == names


def test_an_encoders_value_is_a_line_of_encoder_decoders_alone():
  name = "dro_v, encoder's V"
  assert [line.name for line in ranges.choose(name, ["t5"])] == [name]
  for models in (["decoder"], ["decoder", "t5"]):
    assert name not in [line.name for line in ranges.lines(models)]
    with pytest.raises(UserError, match="no line of the tuned board"):
      ranges.choose(name, models)


def test_a_spec_is_refused_since_options_are_drawn():
  with pytest.raises(UserError, match=r"dro_v\(tau=1\).*drawn and not given"):
    ranges.choose("dro_v(tau=1)", ["t5"])
