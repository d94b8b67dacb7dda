"""Names, options and spec strings: what is taken, and what is said if not."""

import typing

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from specs import specs

from offalign import losses
from offalign import spec as spec_lib
from offalign.errors import UserError
from offalign.types import Scores


def test_names_are_sorted_and_all_can_be_had():
  names = losses.names()
  assert names == sorted(names)
  assert {"dpo", "dro_v", "ipo", "kto", "sft"} <= set(names)
  for name in names:
    assert str(losses.get(name)) == name
    assert losses.get(name).name == losses.definition(name).name == name


@pytest.mark.parametrize("spec", specs())
def test_spec_strings_round_trip(spec):
  loss = losses.get(spec)
  again = losses.get(str(loss))
  assert again == loss
  assert hash(again) == hash(loss)
  assert repr(loss) == f"offalign.losses.get({str(loss)!r})"
  assert losses.get(loss) == loss


def options_of(name: str) -> st.SearchStrategy:
  """Any options, each of its type; some are out of range."""
  definition = losses.definition(name)
  hints = typing.get_type_hints(definition.fn)
  return st.fixed_dictionaries(
    {},
    optional={
      option: st.from_type(hints[option]) for option in definition.defaults
    },
  )


@settings(max_examples=300)
@given(st.data())
def test_any_options_round_trip_or_are_refused(data):
  name = data.draw(st.sampled_from(losses.names()))
  options = data.draw(options_of(name))
  try:
    loss = losses.get(name, **options)
  except UserError:
    return
  assert losses.get(str(loss)) == loss
  assert {**loss.options, **options} == loss.options


@given(st.text(max_size=8))
def test_any_word_round_trips(word):
  options = {"a": word, "b": [word], "c": None, "d": -1e-300, "e": True}
  printed = spec_lib.unparse("x", options)
  assert spec_lib.parse(printed) == ("x", options)


def test_one_compiled_loss_serves_every_number():
  traced = jax.jit(
    lambda number, scores: losses.get("dpo").of_numbers({"beta": number})(
      scores
    )
  )
  logps = np.array([[-3.0, -4.5], [-2.0, -1.0]], np.float32)
  scores = Scores({"logps": logps, "ref_logps": logps[::-1] - 0.5})
  for beta in (0.1, 2.0):
    own = losses.get("dpo", beta=beta)(scores)
    one = traced(beta, scores)
    np.testing.assert_allclose(one.values, own.values, rtol=1e-6)
    for name, value in own.metrics.items():
      np.testing.assert_allclose(one.metrics[name], value, rtol=1e-6)
  with pytest.raises(UserError, match="has no number 'gamma'"):
    losses.get("dpo").of_numbers({"gamma": 1.0})


def test_options_by_keyword_and_by_spec_are_the_same():
  assert losses.get("kto", beta=0.2) == losses.get("kto(beta=0.2)")
  assert losses.get("kto(beta=0.2)", threshold="batch") == losses.get(
    " kto( threshold='batch', beta=2e-1 ) "
  )
  loss = losses.get("kto(beta=0.2)")
  assert str(losses.get(loss, beta=0.3)) == "kto(beta=0.3)"
  assert str(losses.get(loss, beta=0.1)) == "kto"


@pytest.mark.parametrize("number", [2, np.float32(2), np.int64(2)])
def test_every_real_number_is_a_number(number):
  assert str(losses.get("dpo", beta=number)) == "dpo(beta=2.0)"


@pytest.mark.parametrize(
  ("spec", "options", "message"),
  [
    (
      "dop",
      {},
      "there is no loss 'dop'; did you mean 'dpo'? (registered: "
      + ", ".join(losses.names())
      + ")",
    ),
    (
      "kto(bta=0.2)",
      {},
      "loss 'kto' has no option 'bta'; did you mean 'beta'? (its options: "
      "beta, desirable_weight, undesirable_weight, threshold)",
    ),
    ("dpo", {"beta": "high"}, "loss 'dpo': beta must be a number, not 'high'"),
    ("dpo(beta=True)", {}, "loss 'dpo': beta must be a number, not True"),
    ("dpo(beta=1e999)", {}, "loss 'dpo': beta must be finite"),
    ("dpo", {"beta": 10**400}, "loss 'dpo': beta must be finite"),
    ("dpo", {"beta": float("nan")}, "loss 'dpo': beta must be finite"),
    ("dpo(beta=0)", {}, "loss 'dpo': beta must be above 0, not 0.0"),
    ("dro_v(tau=-1)", {}, "loss 'dro_v': tau must be above 0, not -1.0"),
    (
      "kto(threshold=median)",
      {},
      "loss 'kto': threshold must be one of none, batch, prompt, not 'median'",
    ),
    (
      "ipo(length_normalized=yes)",
      {},
      "loss 'ipo': length_normalized must be True or False, not 'yes'",
    ),
    (
      "simpo(label_smoothing=0.5)",
      {},
      "loss 'simpo': label_smoothing must be in [0, 0.5), not 0.5",
    ),
    (
      "simpo(loss_type=hinge, label_smoothing=0.1)",
      {},
      "loss 'simpo': label_smoothing has no effect with loss_type=hinge; "
      "leave it out",
    ),
    (
      "simpo(gamma_beta_ratio=-1)",
      {},
      "loss 'simpo': gamma_beta_ratio must not be negative",
    ),
    (
      "orpo(sft_weight=-1)",
      {},
      "loss 'orpo': sft_weight must not be negative",
    ),
    (
      "dpo(beta=1)",
      {"beta": 2},
      "loss 'dpo': option 'beta' is given twice, in the spec and by keyword",
    ),
    (
      "dpo(beta=1, beta=2)",
      {},
      "loss spec 'dpo(beta=1, beta=2)' gives 'beta' twice",
    ),
  ],
)
def test_mistakes_are_named_with_what_is_valid(spec, options, message):
  with pytest.raises(UserError) as caught:
    losses.get(spec, **options)
  assert str(caught.value) == message


@pytest.mark.parametrize(
  ("spec", "what"),
  [
    ("", "cannot be read"),
    ("kto(beta=", "cannot be read"),
    ("kto\0", "cannot be read"),
    ("kto(0.2)", "has an option without a name"),
    ("kto(**x)", "uses '**'"),
    ("kto.beta", "is not a loss"),
    ("a.b(c=1)", "is not a loss"),
    ("3", "is not a loss"),
    ("kto(beta=f(1))", "the value of 'beta' is not a number"),
    ("kto(beta=1+x)", "the value of 'beta' is not a number"),
  ],
)
def test_unreadable_specs_say_how_to_write_one(spec, what):
  with pytest.raises(UserError) as caught:
    losses.get(spec)
  assert str(caught.value).startswith(f"loss spec {spec!r}")
  assert what in str(caught.value)
  assert "'kto(beta=0.2, threshold=batch)'" in str(caught.value)


@pytest.mark.parametrize(
  ("spec", "shape", "message"),
  [
    ("dpo", (3, 1), "loss 'dpo' takes pairs: logps must be [B, 2], not [3, 1]"),
    ("dpo", (3, 3), "loss 'dpo' takes pairs: logps must be [B, 2], not [3, 3]"),
    (
      "kto(threshold=prompt)",
      (3, 1),
      "loss 'kto(threshold=prompt)' takes completions of one prompt: logps "
      "must be [B, K], K >= 2, not [3, 1]",
    ),
    (
      "sft",
      (3,),
      "loss 'sft' takes single completions: logps must be [B, K], not [3]",
    ),
  ],
)
def test_wrong_number_of_completions_is_refused(spec, shape, message):
  with pytest.raises(UserError) as caught:
    losses.get(spec)(Scores({"logps": np.zeros(shape)}))
  assert str(caught.value) == message


@pytest.mark.parametrize(
  ("spec", "what"),
  [
    ("kto(beta=1if)", "cannot be read"),
    ("kto(beta='\\d')", "beta must be a number"),
    ("kto(" * 3_000, "cannot be read"),
    ("kto(beta=" + "-" * 3_000 + "1)", "."),
    ("kto(beta=0x" + "f" * 6_000 + ")", "is not a number"),
    ("9" * 400 + "*dpo + sft", "is not a sum"),
    ("0x" + "f" * 400 + "*dpo + sft", "is not a sum"),
  ],
)
def test_mangled_specs_end_in_a_sentence_without_a_warning(spec, what, recwarn):
  with pytest.raises(UserError) as caught:
    losses.get(spec)
  assert what in str(caught.value)
  assert len(str(caught.value)) < 5_000
  assert not recwarn.list
