"""Runs in rounds: what is made at a border, and that it resumes to the bit."""

import json
import shutil

import chex
import jax
import numpy as np
import pytest
import rounds
import runs

from offalign import Run
from offalign.distributed.signals import Stop, Stopped
from offalign.errors import UserError
from offalign.reference.store import Store
from offalign.training.rounds import growing, making
from offalign.training.rounds.growing import Growing
from offalign.training.rounds.kept import Kept

pytestmark = pytest.mark.usefixtures("compiled_once", "one_device")
HALVES = ("rebel(eta=1.0)", {"reference": "round", "grow": {"every": 2}})


_MADE = {}


@pytest.fixture
def rebel(tmp_path_factory):
  """REBEL with the policy of the border as its reference; trained once."""
  loss, changes = HALVES
  if "run" not in _MADE:
    folder = tmp_path_factory.mktemp("rebel") / "run"
    _MADE["run"] = rounds.train(folder, loss, **changes)
  return _MADE["run"]


def test_a_round_is_kept_with_its_tokens_scores_and_log_probs(rebel):
  kept = Kept(rebel.folder)
  assert [kept.has(n) for n in (1, 2, 3, 4)] == [True, True, True, False]
  assert rebel.config.last_step == 6
  samples, lines = kept.samples(2), rounds.said(rebel.folder, 2)
  # Two steps of 8 pairs, six pairs a prompt: 16 / 6, rounded up, are 3.
  assert samples.scores.shape == (3, 4)
  assert len(lines) == 12
  for i, line in enumerate(lines):
    score = rounds.ascii_share(line["prompt"], line["completion"])
    assert score == line["reward"] == samples.scores.flat[i]
    assert line["tokens"] == len(samples.drawn.tokens[i]) <= 5
  prompts = [line["prompt"] for line in lines[::4]]
  asked = rebel._asked.prompts
  assert prompts == [asked[i] for i in samples.prompts]
  assert set(prompts).isdisjoint(rebel.inputs.held_prompts)


def test_metrics_say_what_each_round_was(rebel):
  lines = rounds.of_rounds(rebel.folder)
  assert [(x["step"], x["round"], x["episode"]) for x in lines] == [
    (1, 1, 12),
    (3, 2, 24),
    (5, 3, 36),
  ]
  scores = Kept(rebel.folder).samples(3).scores
  assert lines[2]["objective/scores"] == pytest.approx(scores.mean())
  assert lines[2]["objective/scores_std"] == pytest.approx(scores.std())
  # The reference is the policy of the border.
  assert max(abs(x["objective/kl"]) for x in lines) < 1e-4
  held = [
    x["eval_score"] for x in runs.metrics(rebel.folder) if x.get("eval_score")
  ]
  assert len(held) == 4


def test_rewards_keep_the_scale_of_the_first_round(rebel):
  about = Kept(rebel.folder).about(1)
  first = Kept(rebel.folder).samples(1).scores
  scale = about["reward_scale"]
  assert scale == {"mean": first.mean(), "std": first.std()}
  lines = rounds.of_rounds(rebel.folder)
  assert lines[0]["reward"] == pytest.approx(0, abs=1e-6)
  third = (lines[2]["objective/scores"] - scale["mean"]) / scale["std"]
  assert lines[2]["reward"] == pytest.approx(third, abs=1e-5)


def test_the_reference_of_each_round_is_stored_by_its_name(rebel):
  kept, first = Kept(rebel.folder), rebel._identity
  names = [first, f"{first}; round of round 1", f"{first}; round of round 2"]
  for number, name in enumerate(names, 1):
    store = Store(kept.path(number) / "reference", name)
    assert 1 < len(store.known) <= 12
    # Sampled from the policy that scores them: the log-probs are the same.
    drawn = kept.samples(number).drawn
    assert min(
      abs(logp - drawn.logps).min() for logp in store.known.values()
    ) == pytest.approx(0, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("looks", [1, 3, 5, 7])
def test_a_run_that_was_stopped_goes_on_to_the_bit(rebel, tmp_path, looks):
  """Asked to stop while a round is drawn, at its border and inside it."""
  loss, changes = HALVES
  given = rounds.options(tmp_path / "run", loss, **changes)
  with pytest.raises(Stopped):
    Run(**given).train(runs.After(looks), verbose=False)
  again = Run(**given)
  again.train(verbose=False)
  same(again, rebel)


def same(run, whole):
  """Asserts that two runs are the same: lines, weights and rounds."""
  assert runs.metrics(run.folder) == runs.metrics(whole.folder)
  chex.assert_trees_all_equal(runs.state_of(run), runs.state_of(whole))
  found, expected = (runs.contents(x.folder / "rounds") for x in (run, whole))
  texts = {name for name in expected if not name.endswith(".npz")}
  assert {name: found[name] for name in texts} == {
    name: expected[name] for name in texts
  }
  assert not [name for name in found if ".part" in name]
  for number in (1, 2, 3):
    one, other = (Kept(x.folder).samples(number) for x in (run, whole))
    np.testing.assert_array_equal(
      one.drawn.tokens.tokens, other.drawn.tokens.tokens
    )
    np.testing.assert_array_equal(one.drawn.logps, other.drawn.logps)


def test_a_round_before_the_checkpoint_is_made_again_where_it_is_gone(
  rebel, tmp_path
):
  loss, changes = HALVES
  given = rounds.options(tmp_path / "run", loss, **changes)
  steps = given | {"grow": given["grow"] | {"rounds": 2}}
  Run(**steps).train(verbose=False)
  folder = tmp_path / "run"
  assert not Kept(folder).has(3)
  (folder / "rounds" / "3.part").mkdir()  # of a run that was killed
  again = Run(**given)
  again.train(verbose=False)
  same(again, rebel)


def test_a_round_that_is_gone_while_it_is_needed_is_named(tmp_path):
  given = rounds.options(tmp_path / "run", grow={"every": 4, "rounds": 1})
  with pytest.raises(Stopped):
    Run(**given).train(runs.After(5), verbose=False)
  shutil.rmtree(tmp_path / "run" / "rounds" / "1")
  with pytest.raises(UserError, match=r"rounds/1 is gone, and step \d is ins"):
    Run(**given).train(verbose=False)


def test_more_rounds_go_on_and_other_rounds_are_refused(tmp_path):
  given = rounds.options(tmp_path / "run", grow={"every": 1, "rounds": 1})
  Run(**given).train(verbose=False)
  more = given | {"grow": given["grow"] | {"rounds": 2}}
  Run(**more).train(verbose=False)
  assert len(rounds.of_rounds(tmp_path / "run")) == 2
  other = given | {"grow": given["grow"] | {"samples": 2}}
  with pytest.raises(UserError, match=r"grow.samples was 4, is 2"):
    Run(**other)


def test_the_second_round_compiles_nothing(tmp_path):
  """One process, one shape: what the first round compiled serves all."""
  times = []

  def listen(event, seconds, **_):
    if event == "/jax/core/compile/jaxpr_to_mlir_module_duration":
      times.append(seconds)

  seen = []
  made = rounds.ascii_share

  def score(prompt, text):
    seen.append(len(times))
    return made(prompt, text)

  given = rounds.options(
    tmp_path / "run",
    "grpo(behaviour=logged, clip=0.2, beta=0.1)",
    reference="round",
    eval_every=100,
    save_every=100,
    grow={"every": 2, "rounds": 4, "score": score},
  )
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    Run(**given).train(verbose=False)
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
  first, *later = [seen[i] for i in range(4, len(seen), 16 * 4)]
  assert len(later) >= 2
  assert later[0] > first
  # From the second border on, all is compiled but what saving compiles.
  assert len(set(later)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
  ("loss", "changes"),
  [
    ("dpo", {"data": {"pairs": "best_worst"}}),
    ("kto", {"grow": {"label": "prompt_mean"}}),
    ("dro_v", {"grow": {"every": 2}}),
    ("dro_group", {"reference": "ema(0.5)"}),
    ("grpo(behaviour=logged, clip=0.2, beta=0.0)", {"grow": {"batch": 4}}),
    ("sft", {"data": {"best_of_n": 0}}),
    ("ppo(kl_coef=0.1)", {"reference": "round", "grow": {"every": 2}}),
    ("grpo(ratio=token, behaviour=logged, clip=0.2, beta=0.0)", {}),
    ("slic_hf", {"data": {"pairs": "best_random"}}),
  ],
)
def test_every_kind_of_loss_trains(tmp_path, loss, changes):
  changes = {"grow": {}} | changes
  changes["grow"] = {"rounds": 2} | changes["grow"]
  run = rounds.train(tmp_path / "run", loss, **changes)
  lines = runs.metrics(run.folder)
  assert all(np.isfinite(v) for line in lines for v in line.values())
  assert len(rounds.of_rounds(run.folder)) == 2


def test_rest_improves_in_parts_on_the_union_of_all_rounds(tmp_path):
  log = [
    {"prompt": p, "completion": "ok", "reward": 0.5} for p in rounds.PROMPTS
  ]
  run = rounds.train(
    tmp_path / "run",
    "sft",
    data={"path": log},
    keep_best="eval_score",
    grow={
      "prompts": None,
      "keep": "all",
      "rounds": 2,
      "every": 4,
      "thresholds": "mean, 75%",
    },
  )
  assert len(rounds.of_rounds(run.folder)) == 2
  growing = run._growing
  logged = len(run._log.train)
  for number in (1, 2):
    sizes = [len(growing._rows(number, part)[0]) for part in (1, 2)]
    assert logged < sizes[1] < sizes[0]
  for number, part, share in ((1, 1, None), (2, 2, 0.75)):
    rows, _ = growing._rows(number, part)
    scores = growing._samples(number).scores
    cut = (
      scores.mean()
      if share is None
      else np.quantile(scores, share, method="lower")
    )
    above = sum(
      (growing._samples(n).scores > cut).sum() for n in range(1, number + 1)
    )
    assert len(rows) == logged + above
  assert "eval_score" in runs.metrics(run.folder)[-1]


def test_a_moving_reference_needs_no_samples(tmp_path):
  """TR-DPO: the log's pairs, and a reference that follows the policy."""
  log = [
    {"prompt": p, "chosen": "yes", "rejected": f"no {i}"}
    for i, p in enumerate(rounds.PROMPTS)
  ]
  run = Run(
    loss="dpo",
    data={"path": log, "eval_fraction": 0.25},
    out=str(tmp_path / "run"),
    model=runs.DECODER,
    tokenizer="byte",
    batch_size=8,
    steps=6,
    save_every=2,
    eval_samples=0,
    reference="ema(0.5)",
    grow={"every": 2},
    optimizer={"learning_rate": 3e-3, "warmup_steps": 0},
  )
  run.train(verbose=False)
  kept = Kept(run.folder)
  assert [kept.has(n) for n in (1, 2, 3, 4)] == [True, True, True, False]
  means = []
  for number in (1, 2, 3):
    name = run._identity
    name += f"; ema(0.5) of round {number - 1}" if number > 1 else ""
    known = Store(kept.path(number) / "reference", name).known
    means.append(np.mean(list(known.values())))
  assert len(set(means)) == 3
  assert not (kept.path(1) / "samples.npz").exists()
  about = json.loads((kept.path(1) / "round.json").read_text())
  assert about == {"round": 1, "metrics": {"round": 1.0}}


def moving(out, **changes):
  """Options of TDPO over a log of pairs, with a reference that moves."""
  log = [
    {"prompt": p, "chosen": "yes", "rejected": f"no {i}"}
    for i, p in enumerate(rounds.PROMPTS)
  ]
  given = {
    "loss": "tdpo2",
    "data": {"path": log, "eval_fraction": 0.25},
    "out": str(out),
    "model": runs.DECODER,
    "tokenizer": "byte",
    "batch_size": 8,
    "steps": 6,
    "log_every": 1,
    "eval_every": 2,
    "save_every": 100,
    "eval_samples": 0,
    "reference": "round",
    "grow": {"every": 2},
    "optimizer": {"learning_rate": 3e-3, "warmup_steps": 0},
  }
  return given | changes


class Inside(Stop):
  """Is asked to stop after the first step of a run's second round."""

  def __init__(self, out):
    super().__init__()
    self._folder = out

  def check(self):
    self._asked = (self._folder / "rounds" / "2").is_dir()
    super().check()


def divergences(folder, name="kl/chosen"):
  """Step -> divergence of the policy from the reference, over a vocabulary."""
  return {x["step"]: x[name] for x in runs.metrics(folder) if name in x}


def test_each_step_runs_the_policy_of_the_border(tmp_path, monkeypatch):
  """It is at distance 0 there; the second border compiles nothing."""
  times, seen = [], []

  def listen(event, seconds, **_):
    if event == "/jax/core/compile/jaxpr_to_mlir_module_duration":
      times.append(seconds)

  made = Growing._made

  def counted(*args):
    seen.append(len(times))
    return made(*args)

  monkeypatch.setattr(Growing, "_made", counted)
  run = Run(**moving(tmp_path / "run", steps=8))
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    run.train(verbose=False)
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
  assert len(seen) == 4
  assert seen[1] > seen[0]
  assert seen[2] == seen[3]
  kls = divergences(run.folder)
  assert max(abs(kls[step]) for step in (1, 3, 5, 7)) < 1e-6
  assert min(kls[step] for step in (2, 4, 6, 8)) > 1e-3
  # Held-out rows are compared with the first reference.
  held = divergences(run.folder, "eval_kl/chosen")
  assert held[0] == 0
  assert held[2] < held[4] < held[6] < held[8]


@pytest.mark.parametrize(
  "changes",
  [{"lora": {"rank": 2}}, {"reference": "ema(0.5)"}],
  ids=["adapters", "average"],
)
def test_a_run_that_goes_on_inside_a_round_has_its_reference(changes, tmp_path):
  whole = Run(**moving(tmp_path / "whole", **changes))
  whole.train(verbose=False)
  out = tmp_path / "run"
  with pytest.raises(Stopped, match="step 3 of 6 is kept"):
    Run(**moving(out, **changes)).train(Inside(out), verbose=False)
  again = Run(**moving(out, **changes))
  again.train(verbose=False)
  assert runs.metrics(out) == runs.metrics(whole.folder)
  chex.assert_trees_all_equal(runs.state_of(again), runs.state_of(whole))
  kls = divergences(out)
  assert kls[4] > 1e-3
  averages = "reference" in changes
  assert (abs(kls[3]) < 1e-6) != averages


def test_the_other_half_is_written_by_another_policy(rebel, tmp_path):
  run = rounds.train(
    tmp_path / "run",
    "rebel(eta=1.0)",
    grow={"samples": 2, "rounds": 1, "other": str(rebel.folder)},
  )
  samples = Kept(run.folder).samples(1)
  state = runs.state_of(rebel)
  found = making.other(run.config, run.inputs.tokenizer)
  chex.assert_trees_all_equal(
    jax.device_get(found.params), state.params["policy"]
  )
  # Scored by the two policies, the log-probs of each half are its writer's.
  logps = samples.drawn.logps.reshape(-1, 2)
  assert not np.allclose(logps[:, 0], logps[:, 1])


def test_a_smaller_policy_is_taught_by_another(tmp_path):
  teacher = Run(
    data=[{"prompt": f"p{i}", "completion": chr(i)} for i in range(32, 127)],
    loss="sft",
    model=runs.DECODER,
    tokenizer="byte",
    steps=20,
    batch_size=64,
    optimizer={"learning_rate": 1e-2, "warmup_steps": 0},
    out=tmp_path / "teacher",
  )
  teacher.train(verbose=False)
  student = rounds.train(
    tmp_path / "student",
    "distill",
    model="decoder(width=8, layers=1, heads=2)",
    reference=str(teacher.folder),
    batch_size=64,
    optimizer={"learning_rate": 1e-2},
    eval_every=1000,
    save_every=1000,
    grow={"rounds": 30, "samples": 16, "max_new_tokens": 1, "eval_prompts": 0},
  )
  lines = runs.metrics(student.folder)
  apart = [x["objective/kl"] for x in lines if "objective/kl" in x]
  assert np.mean(apart[-3:]) < 0.75 * np.mean(apart[:3])


def test_a_score_that_fails_says_so_and_the_steps_before_are_kept(tmp_path):
  calls = []

  def score(prompt, text):
    calls.append(text)
    return float("nan") if len(calls) > 4 + 32 else len(text)

  given = rounds.options(
    tmp_path / "run", grow={"score": score, "eval_prompts": 4}, eval_every=9
  )
  with pytest.raises(UserError, match=r"round 2: grow.score.* finite number"):
    Run(**given).train(verbose=False)
  saved = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
  assert saved == ["1"]


def test_scores_that_are_all_alike_have_no_scale(tmp_path):
  given = rounds.options(
    tmp_path / "run", grow={"score": lambda prompt, text: 2, "rounds": 1}
  )
  with pytest.raises(UserError, match=r"all 32 samples score 2, which gives"):
    Run(**given).train(verbose=False)
  data = given["data"] | {"normalize_rewards": False}
  out = tmp_path / "as-they-are"
  Run(**(given | {"data": data, "out": str(out)})).train(verbose=False)
  assert rounds.of_rounds(out)[0]["frac_reward_zero_std"] == 1


def test_a_prompt_with_one_score_is_not_one_whose_samples_score_alike():
  nan = np.nan
  scores = np.array([[1, nan, nan], [2, 2, nan], [1, 2, 3], [nan] * 3])
  assert growing._alike(scores) == 0.5
  assert np.isnan(growing._alike(scores[[0, 3]]))
  assert growing._alike(np.array([[1.0], [2.0]])) == 1
