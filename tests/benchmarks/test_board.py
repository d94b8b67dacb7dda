"""The runner: which methods, which rows, and what a failure leaves."""

import json
import shlex
import sys

import html_checks
import jax
import numpy as np
import pytest
from absl import flags

from benchmarks import commands, methods, ops, ops_log, ops_sizes, run
from benchmarks.verdicts import verdicts
from benchmarks.worlds.setting import WORLDS
from offalign import leaderboard, losses
from offalign.errors import UserError
from offalign.losses import registry
from offalign.types import Kind


def suite(*args):
  """Runs the program with flags, as from a shell."""
  flags.FLAGS.unparse_flags()
  flags.FLAGS(["benchmarks.run", *args])
  try:
    return run.main(["benchmarks.run"])
  finally:
    for name in ("suite", "methods", "seeds", "out", "model", "select"):
      flags.FLAGS[name].unparse()


@pytest.mark.slow
def test_ops_writes_a_row_for_every_run_and_a_report(small, tmp_path, capsys):
  wanted = "dro_v(tau=0.1),kto(beta=3,threshold=batch),dpo(beta=1)"
  out = tmp_path / "board"
  status = suite(
    "--suite=ops", f"--methods={wanted}", "--seeds=2", f"--out={out}"
  )
  printed = capsys.readouterr().out
  assert status == 0
  rows, problems = leaderboard.read(out)
  assert not problems
  trained = [r for r in rows if not r.control]
  assert len(trained) == 6
  assert {r.label for r in rows if r.control} == {
    "sft",
    "sft, T=0.7",
    "sft, T=0.5",
    "sft, greedy",
    "best of 4 by gold",
  }
  assert len({tuple(r.budget.items()) for r in trained}) == 1
  for row in trained:
    assert {"win_vs_sft", "reward_gain", "kl"} <= set(row.metrics)
    assert len(row.folds["win_vs_sft"]) == 5
    assert [step for step, _ in row.curves["win_vs_sft"]] == [0, 2, 4]
    assert row.command == (
      f"python -m benchmarks.run --suite=ops --methods={shlex.quote(row.label)}"
      f" --model=decoder --seeds={row.seed + 1}"
    )
  # The same few prompts for everyone.
  (shown,) = {tuple(sample.prompt for sample in row.samples) for row in rows}
  assert 1 <= len(shown) <= 6
  # Each pair of methods met once a seed.
  assert sum(len(r.duels) for r in trained) == 2 * 3
  assert "dro_v(tau=0.1)" in printed
  assert f"report: {out / 'report.md'}" in printed
  page = html_checks.check((out / "report.html").read_text())
  assert all(prompt in page.text for prompt in shown)
  assert list((out / "plots").glob("*.png"))
  meta = json.loads((out / "meta.json").read_text())
  assert any(
    v.startswith("ops, decoder: dro_v(tau=0.1)") for v in meta["verdicts"]
  )
  assert suite("--suite=ops", f"--out={out}") == 2  # never over other rows
  assert "holds the rows of another run" in capsys.readouterr().err


@pytest.mark.slow
def test_a_failing_method_is_a_row_and_the_others_go_on(
  small, tmp_path, monkeypatch
):
  monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

  @registry.register(
    "broken", kind=Kind.SINGLE, paper="-", when="-", formula="-"
  )
  def broken(scores):
    raise RuntimeError("no such luck")

  judged, measured, measure = [], {}, ops.measure

  def judge(base, params, on, stream):
    judged.append(jax.device_get(params))
    return on.rewards + (1 if len(judged) == 1 else -1)

  def noted(base, params, stream, *rest):
    measured[stream] = jax.device_get(params)
    return measure(base, params, stream, *rest)

  monkeypatch.setattr(ops, "judge", judge)
  monkeypatch.setattr(ops, "measure", noted)
  out = tmp_path / "board"
  args = ("--methods=broken,sft(on=desirable)", "--seeds=1", f"--out={out}")
  assert suite("--suite=ops", "--select", *args) == 1
  rows = {r.label: r for r in leaderboard.read(out)[0]}
  assert rows["broken"].error == "RuntimeError: no such luck"
  assert rows["sft(on=desirable)"].status == "ok"
  report = (out / "report.md").read_text()
  assert "no such luck" in report
  # The first of the two checkpoints won more, and is the one measured.
  first, second = map(jax.tree.leaves, judged)
  taken = jax.tree.leaves(measured["sft(on=desirable), seed 0"])
  assert all(map(np.array_equal, taken, first))
  assert not all(map(np.array_equal, taken, second))
  # Whose checkpoint was selected is said, of those that have one.
  how = "by win rate against SFT on 10 validation prompts, every 2 steps"
  assert rows["sft(on=desirable)"].selection == how
  assert f"The checkpoint was selected {how}: sft(on=desirable)." in report
  assert rows["sft"].selection == rows["broken"].selection == ""
  assert rows["sft(on=desirable)"].command.endswith(" --seeds=1 --select")


def test_a_new_loss_stands_on_every_board(monkeypatch):
  monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

  @registry.register(
    "new",
    kind=Kind.PAIR,
    needs=("ref_logps",),
    paper="-",
    when="-",
    formula="-",
  )
  def new(scores):
    return jax.nn.relu(1 - scores.log_ratios[:, 0] + scores.log_ratios[:, 1])

  for listed in (methods.THEORY, methods.OPS):
    assert "new" in [m.name for m in methods.choose(listed, "all")]


def test_the_whole_board_says_what_is_untuned_and_what_is_not_on_it():
  said = " ".join(methods.remarks(methods.choose(methods.OPS, "all")))
  assert "bradley_terry is not on the board: it trains a reward model" in said
  tuned, _, untuned = said.partition("Of the others")
  assert "dro_v(tau=0.1)" in tuned
  assert "alphapo" in untuned
  assert methods.remarks(methods.choose(methods.OPS, "dpo,ipo")) == []


def test_every_registered_loss_of_a_policy_is_on_the_ops_board():
  on_board = {
    losses.get(m.loss).name for m in methods.choose(methods.OPS, "all")
  }
  of_policies = {
    name for name in losses.names() if methods.why_not(name) is None
  }
  assert on_board == of_policies
  assert on_board != set(losses.names())


@pytest.mark.parametrize(
  ("wanted", "names"),
  [
    ("kto(beta=3,threshold=batch)", ["kto(beta=3.0, threshold=batch)"]),
    ("dpo,ipo", ["dpo(beta=1.0)", "ipo"]),
    ("dro_v(tau=0.1)", ["dro_v(tau=0.1)"]),
    ("dro_v(tau=0.7)", ["dro_v(tau=0.7)"]),
    (
      "ipo, dro_v(tau=0.1), one V,dpo",
      ["ipo", "dro_v(tau=0.1), one V", "dpo(beta=1.0)"],
    ),
  ],
)
def test_methods_are_chosen_by_label_name_or_spec(wanted, names):
  assert [m.name for m in methods.choose(methods.OPS, wanted)] == names


@pytest.mark.parametrize(
  "listed", [methods.THEORY, methods.OPS, methods.OPS_T5]
)
def test_every_row_can_be_asked_for_by_its_name(listed):
  """What a row's command relies on."""
  for method in methods.choose(listed, "all"):
    assert methods.choose(listed, method.name) == [method]


def test_methods_that_do_not_exist_are_refused():
  with pytest.raises(UserError, match="did you mean 'dpo'"):
    methods.choose(methods.OPS, "dpoo")
  with pytest.raises(UserError, match="twice"):
    methods.choose(methods.OPS, "dpo,dpo(beta=1)")


@pytest.mark.parametrize(
  "args",
  [
    ("--suite=paper", "--methods=sft"),
    ("--suite=ops", "--methods=sft(on=all)"),
  ],
)
def test_a_method_of_a_controls_name_is_refused_before_it_is_trained(
  args, tmp_path, capsys
):
  assert suite(*args, f"--out={tmp_path / 'out'}") == 2
  assert "--methods names 'sft', which on the ops" in capsys.readouterr().err
  assert not (tmp_path / "out").exists()


def feedback():
  """Three prompts with four completions; prompt 1 has a tie."""
  rng = np.random.default_rng(0)
  rewards = np.array(
    [[0.1, 0.4, 0.9, 0.2], [0.5, 0.5, 0.0, 1.0], [0.3, 0.2, 0.1, 0.0]], "f4"
  )
  return ops_log.Feedback(
    prompts=np.arange(21, dtype=np.int32).reshape(3, 7),
    tokens=rng.integers(0, 25, (3, 4, 11)).astype(np.int32),
    mask=np.ones((3, 4, 11), bool),
    ref_logps=-rng.random((3, 4)).astype("f4"),
    rewards=rewards,
    seed=0,
    world=WORLDS["ops"],
  )


def test_views_are_of_the_same_completions(monkeypatch):
  monkeypatch.setattr(ops_sizes, "PROMPTS", 3)
  log = feedback()
  seen = {}
  for spec in ("dro_v", "dpo", "rebel", "kto(threshold=prompt)"):
    _, rows, ties = ops_log.view(methods.Method(spec), losses.get(spec), log)
    seen[spec] = rows
    tokens = rows.completions.reshape(-1, 11)
    pool = {row.tobytes() for row in log.tokens.reshape(-1, 11)}
    assert {row.tobytes() for row in tokens} <= pool
    assert ties == (1 if spec == "dpo" else 0)
    assert len(tokens) + 2 * ties == 12
  assert (seen["dpo"].rewards[:, 0] > seen["dpo"].rewards[:, 1]).all()
  assert seen["kto(threshold=prompt)"].completions.shape[1] == 4


def test_verdicts_are_made_from_the_numbers():
  assert verdicts([]) == []


def test_the_command_of_a_report_can_be_run_again():
  flags.FLAGS.unparse_flags()
  flags.FLAGS(["benchmarks.run", "--suite=ops", "--methods=dpo(beta=1),ipo"])
  try:
    assert commands.command(("suite", "methods")) == (
      "python -m benchmarks.run --suite=ops --methods='dpo(beta=1),ipo'"
    )
  finally:
    for name in ("suite", "methods"):
      flags.FLAGS[name].unparse()
  assert "benchmarks.run" in sys.modules
