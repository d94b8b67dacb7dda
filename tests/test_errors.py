"""Errors name options; programs print them as flags."""

import doctest
import logging
import pickle

import pytest

from offalign import errors
from offalign.errors import (
  LONGEST,
  OPTIONS,
  Sentence,
  UserError,
  concerning,
  option,
  printable,
  qualify,
  render,
  speaking,
  spoken,
  within,
)

MARKS = ("\ufdd0", "\ufdd1")


def cfg(name):
  return f"--cfg.{name}"


def raised(message, *layers, **given):
  """The error that passed through the context managers, innermost last."""
  with pytest.raises(UserError) as error:
    _raise(UserError(message, **given), list(layers))
  return error.value


def _raise(error, layers):
  if not layers:
    raise error
  with layers[0]:
    _raise(error, layers[1:])


def test_the_examples():
  assert doctest.testmod(errors).failed == 0


@pytest.mark.parametrize(
  ("text", "plain", "flags"),
  [
    ("no option", "no option", "no option"),
    (option("steps"), "steps", "--cfg.steps"),
    (option("data.pairs"), "data.pairs", "--cfg.data.pairs"),
    (option("value.*"), "value.*", "--cfg.value.*"),
    (option("steps", 7), "steps=7", "--cfg.steps=7"),
    (option("steps", None), "steps=None", "--cfg.steps=None"),
    (option("steps", 0), "steps=0", "--cfg.steps=0"),
    (option("packing", True), "packing=True", "--cfg.packing=True"),
    (option("packing", False), "packing=False", "--nocfg.packing"),
    (f"other {OPTIONS}", "other options", "other flags"),
    (
      f"{option('a')}={3!r}, {option('b.c')}, and {option('a')}!",
      "a=3, b.c, and a!",
      "--cfg.a=3, --cfg.b.c, and --cfg.a!",
    ),
  ],
)
def test_options_are_named_plainly_or_as_flags(text, plain, flags):
  for said in (text, UserError(text), Sentence(text)):
    assert render(said) == plain
    assert render(said, cfg) == flags
  assert str(UserError(text)) == str(Sentence(text)) == plain


def test_programs_name_their_own_flags():
  error = UserError(f"{option('step', 3)} is none of {option('out')}")
  assert render(error, lambda name: f"--{name}") == "--step=3 is none of --out"
  off = option("packing", False)
  assert render(off, lambda name: f"--{name}") == "--nopacking"


def test_the_option_of_an_error():
  assert UserError("no such file").option is None
  named = f"{option('data.pairs')} is set beside {option('loss')}"
  assert UserError(named).option == "data.pairs"
  assert UserError(named, option="loss").option == "loss"
  assert str(UserError(named, option="loss")) == render(named)
  assert UserError(f"{OPTIONS} of {option('loss')}").option == "loss"
  assert UserError(option("packing", False)).option == "packing"


def test_an_option_that_the_message_does_not_name_is_put_before():
  error = UserError("must be at least 1", option="steps")
  assert str(error) == "steps: must be at least 1"
  assert render(error, cfg) == "--cfg.steps: must be at least 1"
  assert error.option == "steps"


def test_layers_qualify_what_is_said_below():
  said = f"{option('learning_rate')} of {option('name', 'adam')}; {OPTIONS}"
  error = raised(said, within("train"), within("optimizer"))
  assert str(error) == (
    "train.optimizer.learning_rate of train.optimizer.name=adam; options"
  )
  assert error.option == "train.optimizer.learning_rate"


def test_layers_rename():
  layer = within("data", vocab_size="tokenizer_vocab")
  said = f"{option('vocab_size')} beside {option('form')}"
  error = raised(said, layer)
  assert str(error) == "tokenizer_vocab beside data.form"
  assert error.option == "tokenizer_vocab"
  given = raised(said, within("data"), option="form")
  assert given.option == "data.form"
  assert render(qualify(option("cache", False), "data"), cfg) == (
    "--nocfg.data.cache"
  )


def test_layers_say_what_an_error_is_about():
  error = raised(
    f"{option('pairs')} is set",
    concerning(option("batch_size", 7)),
    within("data"),
    concerning("log.jsonl"),
  )
  assert str(error) == "batch_size=7: log.jsonl: data.pairs is set"
  assert render(error, cfg) == (
    "--cfg.batch_size=7: log.jsonl: --cfg.data.pairs is set"
  )
  assert error.option == "batch_size"
  # What is no option leaves the main one as it is.
  kept = raised(
    f"{option('a')} and {option('b')}", concerning("a file"), option="b"
  )
  assert kept.option == "b"


def test_the_names_of_what_lies_above_are_not_qualified():
  error = raised("no such run", within("data"), concerning(option("init")))
  assert str(error) == "data.init: no such run"
  error = raised("no such run", concerning(option("init")), within("data"))
  assert str(error) == "init: no such run"


def test_an_error_stays_the_one_that_was_raised():
  class Special(UserError):
    pass

  error = Special(option("pairs"))
  with pytest.raises(Special) as caught:
    _raise(error, [concerning("here"), within("data")])
  assert caught.value is error
  with pytest.raises(KeyError), within("data"), concerning("here"):
    raise KeyError("other errors pass")


def test_what_a_process_prints_names_flags_where_a_program_says_so():
  error = UserError(f"{option('steps')} is missing")
  assert spoken(error) == "steps is missing"
  with speaking(cfg):
    assert spoken(error) == "--cfg.steps is missing"
    assert str(error) == "steps is missing"
    with speaking(lambda name: f"--{name}"):
      assert spoken(error) == "--steps is missing"
    assert spoken(error) == "--cfg.steps is missing"
  with pytest.raises(KeyError), speaking(cfg):
    raise KeyError
  assert spoken(error) == "steps is missing"


def test_no_mark_gets_out(caplog, capsys):
  said = f"{option('a.b', False)}, {option('steps', 3)} and other {OPTIONS}"
  error = raised(said, concerning(option("batch_size")), within("data"))
  sentence = Sentence(said)
  logging.getLogger("test").warning("%s %r %s", error, error, sentence)
  print(error, sentence, f"{error} {sentence}")
  out = [
    str(error),
    repr(error),
    str(error.args),
    error.option,
    sentence,
    repr(sentence),
    f"{error}: {sentence}",
    render(error, cfg),
    spoken(sentence),
    caplog.text,
    capsys.readouterr().out,
  ]
  assert not [text for text in out if any(mark in text for mark in MARKS)]


def test_errors_and_sentences_are_pickled():
  error = raised(f"{option('pairs')} is set", within("data"))
  again = pickle.loads(pickle.dumps(error))
  assert (str(again), again.args) == (str(error), error.args)
  assert again.option == "data.pairs"
  assert render(again, cfg) == "--cfg.data.pairs is set"
  sentence = pickle.loads(pickle.dumps(Sentence(option("steps"))))
  assert sentence == "steps"
  assert render(sentence, cfg) == "--cfg.steps"


@pytest.mark.parametrize("text", ["\ufdd0", "\ufdd1", "a\ufdd1b\ufdd0c"])
def test_text_of_the_user_is_left_as_it_is(text):
  assert str(UserError(text)) == text
  assert str(UserError(f"{option('path')}={text}")) == f"path={text}"


def test_a_long_message_keeps_its_beginning_and_its_end():
  long = UserError(f"{option('path')} is {'x' * 100_000}; use {option('form')}")
  assert len(str(long)) <= LONGEST
  assert str(long).startswith("path is xxx")
  assert str(long).endswith("xxx; use form")
  assert render(long, cfg).endswith("; use --cfg.form")
  for size in range(2980, 3010):  # wherever the cut falls, no mark is halved
    error = UserError("x" * size + option("data.pairs") + "y" * 9_000)
    assert set(str(error)) <= set("xydata.pairs ")
  short = "z" * LONGEST
  assert str(UserError(short)) == short


def test_what_no_terminal_takes_is_shown_as_an_escape():
  assert printable("a\ud800\x1b\u202e é\n") == "a\\ud800\\x1b\\u202e é\n"
