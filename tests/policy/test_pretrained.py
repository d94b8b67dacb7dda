"""A model folder is a policy: it completes, streams and scores like a run's."""

import numpy as np
import pytest
import talkers

from offalign.errors import UserError
from offalign.policy import pretrained
from offalign.policy.policy import Policy

ASKED = [[{"role": "user", "content": f"and {i}?"}] for i in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return talkers.write_lively(tmp_path_factory.mktemp("talker") / "model")


@pytest.fixture(scope="module")
def policy(folder):
  return Policy.load(folder)


def test_what_is_one(folder, tmp_path):
  assert pretrained.is_one(folder)
  assert pretrained.is_one("org/name")
  for other in (tmp_path, tmp_path / "none", "./a", "~/a", "name", "a/b/c"):
    assert not pretrained.is_one(other)
  (tmp_path / "config.json").write_text("{}")
  assert pretrained.is_one(tmp_path)
  (tmp_path / "run.json").write_text("{}")
  assert not pretrained.is_one(tmp_path)


def test_it_completes_and_says_what_it_does_not_know(policy, capsys):
  done = policy.generate(ASKED, temperature=0)
  assert len(done) == 3
  said = capsys.readouterr().out
  # Of the default of 256 tokens, the model has positions for some.
  assert "is a model folder, which does not say how long" in said or (
    "tokens at most, not 256: the model was made for 64" in said
  )
  assert done == policy.generate(ASKED, temperature=0, verbose=False)
  assert not capsys.readouterr().out


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"seed": 4}])
def test_a_stream_is_what_is_generated(policy, options):
  given = {"max_new_tokens": 9, **options}
  for asked in ASKED:
    streamed = policy.stream(asked, **given)
    pieces = list(streamed.pieces)
    (done,) = policy.generate([asked], verbose=False, **given)
    assert "".join(piece.text for piece in pieces) == done.text
    assert (pieces[-1].tokens, pieces[-1].finished) == (
      done.tokens,
      done.finished,
    )
    assert streamed.prompt_tokens > 3


def test_samples_of_a_prompt_stand_together(policy):
  given = {"max_new_tokens": 6, "seed": 2, "verbose": False}
  one = policy.generate(ASKED, **given)
  three = policy.generate(ASKED, samples=3, **given)
  assert len(three) == 9
  for first, alone in zip(three[::3], one, strict=True):
    assert (str(first), first.ids) == (str(alone), alone.ids)
    # Programs of other shapes round otherwise.
    np.testing.assert_allclose(first.logprobs, alone.logprobs, rtol=1e-5)
  assert len({str(x) for x in three[:3]}) > 1
  assert (
    policy.generate(ASKED, samples=2, top_k=1, **given)[0::2]
    == (policy.generate(ASKED, samples=2, top_k=1, **given)[1::2])
  )
  with pytest.raises(UserError, match="are all the same completion"):
    policy.generate(ASKED, samples=2, temperature=0)
  with pytest.raises(UserError, match="samples must be at least 1"):
    policy.generate(ASKED, samples=0)


def test_it_scores_what_was_logged(policy):
  reply = [{"role": "assistant", "content": "yes"}]
  rows = [{"prompt": asked, "completion": reply} for asked in ASKED]
  assert policy.logps(rows, form="sft").shape == (3,)


def test_a_limit_leaves_the_first_tokens_of_a_completion(policy, capsys):
  long, short = (
    [{"prompt": "so", "completion": text}] for text in (" abcdef", " a")
  )
  whole = policy.logps(long, form="sft")
  assert "cut" not in capsys.readouterr().out
  cut = policy.logps(long, form="sft", max_completion=2)
  assert "1 completion cut to the first 2 tokens" in capsys.readouterr().out
  assert whole[0] < cut[0] < 0
  # The same two tokens, of a completion that has no more but its end.
  same = policy.logps(short, form="sft", max_completion=2)
  assert cut == pytest.approx(same, abs=1e-5)
  with pytest.raises(UserError, match="max_completion must be at least 1"):
    policy.logps(long, form="sft", max_completion=0)


def test_what_only_a_run_has_is_refused(policy, folder, tmp_path):
  for ask in (
    lambda: policy.loss,
    lambda: policy.export(tmp_path / "out"),
    lambda: policy.row(),
  ):
    with pytest.raises(UserError, match="is a model folder and no run, so th"):
      ask()
  assert policy.metrics == {}
  with pytest.raises(UserError, match=r"^step=best is of a run's checkpoints"):
    Policy.load(folder, "best")


def test_what_is_neither_is_said(tmp_path):
  with pytest.raises(UserError, match="is not a run folder"):
    Policy.load(tmp_path)
