"""The throughput suite: turns, failures, words, and our own worker."""

import dataclasses
import json
import pathlib
import sys

import pytest
from absl import flags
from peaks import beside_a_large_parent

from benchmarks import run
from benchmarks.throughput import (
  cli,
  contenders,
  goals,
  install,
  protocol,
  report,
  suite,
)
from benchmarks.throughput.cases import CASES, MODELS, PUBLISHED, Case
from benchmarks.throughput.suite import Result
from offalign.errors import UserError

CASE = CASES[0]
TINY = Case("dpo", "tiny", 2, 2, 4, 3)

FAKE = """#!{python}
import json, sys
said = json.loads(sys.argv[-1])  # the case
print(json.dumps({{"ready": True, "parameters": said["prompts"]}}), flush=True)
for i, line in enumerate(sys.stdin):
  if i == {dies}:
    print("out of luck", file=sys.stderr)
    sys.exit(3)
  steps = int(line)
  answer = {{"seconds": steps * {seconds}, "loss": 0.0, "peak_mb": {mb}}}
  print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def fakes(tmp_path, monkeypatch):
  """A folder of pretended interpreters, by contender."""
  found: dict[str, str] = {}

  def add(name, seconds=1.0, mb=100.0, dies=-1):
    path = tmp_path / name.replace(" ", "_")
    fields = {"seconds": seconds, "mb": mb, "dies": dies}
    path.write_text(FAKE.format(python=sys.executable, **fields))
    path.chmod(0o755)
    found[name] = str(path)

  monkeypatch.setattr(
    contenders, "python", lambda contender, peers: found.get(contender.name)
  )
  return add


def given(*args):
  flags.FLAGS.unparse_flags()
  flags.FLAGS(["benchmarks.run", *args])
  try:
    return run.main(["benchmarks.run"])
  finally:
    flags.FLAGS.unparse_flags()
    flags.FLAGS(["benchmarks.run"])
    for name in ("suite", "out", "weights", *cli.NAMES):
      flags.FLAGS[name].unparse()
    flags.FLAGS(["benchmarks.run"])


def test_everybody_makes_as_many_turns(fakes, tmp_path):
  fakes("offalign", seconds=1.0, mb=60.0)
  fakes("TRL", seconds=2.0, mb=200.0)
  told = []
  found = suite.run(CASE, ["TRL", "Tunix"], None, 3, tmp_path, told.append)
  ours, trl, tunix = found
  assert ours.seconds == (1.0, 1.0, 1.0)
  assert trl.seconds == (2.0, 2.0, 2.0)
  assert trl.peak_mb == 200.0
  assert trl.about == {"parameters": 8}
  assert "absent" in tunix.error
  assert "tunix" in tunix.error
  order = " ".join(t.split()[-2] for t in told[3:])
  assert order == "offalign TRL TRL offalign offalign TRL"


def test_a_dying_worker_leaves_the_others_running(fakes, tmp_path):
  fakes("offalign")
  fakes("TRL", dies=2)
  fakes("Tunix", dies=0)
  ours, trl, tunix = suite.run(CASE, ["TRL", "Tunix"], None, 4, tmp_path)
  assert len(ours.seconds) == 4
  assert len(trl.seconds) == 1
  for result in (trl, tunix):
    assert "status 3: out of luck" in result.error
  assert not tunix.seconds
  text = report.table(CASE, [ours, trl, tunix])
  assert "| TRL | 2048 (2048 to 2048); then ended with status 3" in text
  assert "| Tunix | ended with status 3: out of luck" in text
  lines = goals.verdicts(CASE, [ours, trl, tunix])
  assert lines == [
    f"{CASE.name}: nothing to compare with, no peer ran to its end."
  ]


def test_turns_stop_the_clock_of_a_foreign_loop():
  class Speaker:
    said: list = []  # noqa: RUF012
    requests = iter((2, 1))

    def ready(self, **about):
      self.said.append(("ready", steps, about))

    def wanted(self):
      return next(self.requests)

    def done(self, seconds, loss):
      self.said.append(("done", steps, loss))

  steps, speaker = 0, Speaker()
  turns = protocol.Turns(speaker, lambda: float(steps), warm=2, who="me")
  for _ in range(5):
    turns.between()
    steps += 1
  with pytest.raises(StopIteration):
    turns.between()
  assert speaker.said == [
    ("ready", 2, {"who": "me", "first_loss": 1.0}),
    ("done", 4, 4.0),
    ("done", 5, 5.0),
  ]


def results(ours=1.0, peer=2.0, mb=100.0):
  return [
    Result("offalign", (ours, ours, ours), mb, {"parameters": 7}),
    Result("TRL", (peer, peer, peer), 200.0, {"parameters": 7}),
    Result("EasyDeL", (9.0, 9.0, 9.0), 190.0, {"parameters": 8}),
  ]


def test_verdicts_say_what_is_missed_and_by_how_much():
  speed, memory = goals.verdicts(CASE, results())
  assert "speed: met. 2.00 times the fastest peer (TRL)" in speed
  assert "54% to spare" in speed
  assert "memory: met. 0.53 of the leanest peer's peak (EasyDeL)" in memory
  speed, memory = goals.verdicts(CASE, results(ours=1.6, mb=150.0))
  assert "speed: missed. 1.25 times" in speed
  assert "4% short" in speed
  assert "memory: missed. 0.79" in memory
  assert "32% short" in memory


def test_a_variant_of_ours_is_no_peer_and_has_its_own_verdicts():
  mine, *peers = results()
  variant = dataclasses.replace(
    mine,
    contender="offalign, encoder's V",
    seconds=tuple(s / 2 for s in mine.seconds),
    peak_mb=mine.peak_mb / 2,
  )
  lines = goals.verdicts(CASE, [mine, variant, *peers])
  assert lines[:2] == goals.verdicts(CASE, [mine, *peers])
  speed, memory = lines[2:]
  assert f"{CASE.name}, offalign, encoder's V, speed: met. 4.00 times" in speed
  assert "memory: met. 0.26 of the leanest peer's peak (EasyDeL)" in memory


def test_a_verdict_within_the_spread_says_so():
  mixed = results()
  mixed[0] = dataclasses.replace(mixed[0], seconds=(1.0, 1.9, 1.2))
  speed, _ = goals.verdicts(CASE, mixed)
  assert speed.endswith("single turns fell on both sides.")


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_each_case_has_its_goal(case):
  expected = {64: 1.3, 256: 2.0, 128: 1.5}[case.prompt]
  assert goals.speed(case) == expected


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda c: c.name)
def test_a_published_model_has_goals_of_speed_alone(case):
  assert goals.speed(case) == (1.0 if case.per_prompt == 1 else 1.5)
  (speed,) = goals.verdicts(case, results())
  assert "speed: met. 2.00 times" in speed


def test_a_published_model_needs_its_folder(tmp_path):
  assert not any(case.published for case in cli.chosen([]))
  with pytest.raises(UserError, match="name its folder by --weights"):
    cli.chosen(["SmolLM2"])
  with pytest.raises(UserError, match="cannot read"):
    cli.chosen(["SmolLM2"], str(tmp_path))
  config = tmp_path / "config.json"
  config.write_text(json.dumps(MODELS["60M"]))
  with pytest.raises(UserError, match="hidden_size=640, and SmolLM2"):
    cli.chosen(["SmolLM2"], str(tmp_path))
  config.write_text(json.dumps(MODELS["SmolLM2"]))
  found = cli.chosen(["kto SmolLM2 9+25"], str(tmp_path))
  assert [case.name for case in found] == [
    "kto SmolLM2 9+25 K=1",
    "kto SmolLM2 9+25 K=2",
  ]
  for case in found:
    assert case.weights == str(tmp_path)
    assert [c.name for c in contenders.chosen(case, [])] == [
      "offalign",
      "TRL",
      "PyTorch, plain",
    ]
  everyone = [c.name for c in contenders.chosen(CASES[0], [])]
  assert everyone == ["offalign", "TRL", "TRL, compiled", "EasyDeL", "Tunix"]


def test_cases_run_in_the_order_that_they_are_named_in():
  found = [case.name for case in cli.chosen(["T5", "kto 60M", "kto"])]
  assert found[:2] == ["dro_v T5 60M 128+64", "kto 60M 64+64"]
  assert found[2:] == ["kto 60M 256+64", "kto 10M 64+64", "kto 10M 256+64"]


def test_what_does_not_fit_into_the_minutes_is_said(
  fakes, tmp_path, monkeypatch
):
  fakes("offalign")
  fakes("TRL")
  monkeypatch.setattr(cli.ceiling, "rates", lambda: {"jax": 50.0})
  ticks = iter(100.0 * i for i in range(99))  # a case takes 100 seconds
  monkeypatch.setattr(cli, "clock", lambda: next(ticks))
  out = tmp_path / "out"
  named = ("--cases=dpo", "--repeats=1", "--minutes=7", f"--out={out}")
  assert given("--suite=throughput", *named) == 0
  rows = [json.loads(s) for s in (out / "throughput.jsonl").open()]
  assert {r["case"] for r in rows} == {"dpo 10M 64+64", "dpo 10M 256+64"}
  assert "not run within 7 minutes: dpo 60M 64+64, dpo 60M 256+64" in (
    out / "throughput.md"
  ).read_text().replace("\n", " ")


def test_grouped_queries_need_fewer_products():
  kto = next(c for c in PUBLISHED if c.loss == "kto" and c.prompt == 9)
  shape = MODELS["SmolLM2"]
  d, f, kv = shape["hidden_size"], shape["intermediate_size"], 3 * 64
  layers = 30 * (2 * d * d + 2 * d * kv + 3 * d * f)
  tokens, head = 8 * (9 + 25), 8 * 25 * d * shape["vocab_size"]
  assert kto.flops == 8.0 * (tokens * layers + head)


def test_without_ours_there_is_no_verdict():
  (line,) = goals.verdicts(CASE, results()[1:])
  assert "offalign did not run" in line


def test_the_report_holds_figures_shares_and_what_differs(tmp_path):
  found = [(CASE, results())]
  parts = {CASE.name: {"forward": 0.03, "backward": 0.01}}
  rates = {"jax": 100.0, "numpy": 90.0}
  text = report.render(found, {"machine": "2 cores"}, rates, parts)
  assert "* machine: 2 cores" in text
  row = "| TRL | 1024 (1024 to 1024) | 2.00 (2.00 to 2.00) | 200 | 0.50 |"
  assert row in text
  assert "| forward | 30 | 75% |" in text
  reached = CASE.flops * 1e-9
  assert f"{reached:.1f} GFLOP/s, {reached:.0f}% of what jax reaches" in text
  assert "parameters differ: offalign 7, TRL 7, EasyDeL 8" in text
  report.plot(found, tmp_path / "bars.png")
  assert (tmp_path / "bars.png").stat().st_size > 1000


def test_a_processor_has_its_name(tmp_path, monkeypatch):
  path = tmp_path / "cpuinfo"
  path.write_text("processor\t: 0\nmodel name\t: AMD EPYC 9R14\nstepping: 1\n")
  assert cli._processor(str(path)) == "AMD EPYC 9R14"
  path.write_text("processor\t: 0\nHardware\t: BCM2835\n")
  monkeypatch.setattr(cli.platform, "processor", lambda: "")
  assert cli._processor(str(path)) == "unknown kind"
  assert cli._processor(str(tmp_path / "none")) == "unknown kind"


def test_a_run_writes_rows_and_a_report(fakes, tmp_path, monkeypatch, capsys):
  fakes("offalign", seconds=1.0)
  fakes("TRL", seconds=2.0)
  monkeypatch.setattr(cli.ceiling, "rates", lambda: {"jax": 50.0})
  out = tmp_path / "out"
  status = given(
    "--suite=throughput",
    "--cases=dpo 10M 64+64",
    "--repeats=2",
    f"--out={out}",
  )
  assert status == 0  # the absent are listed, and no failure
  rows = [json.loads(s) for s in (out / "throughput.jsonl").open()]
  assert [r["contender"] for r in rows[:2]] == ["offalign", "TRL"]
  assert rows[1]["tokens_per_second"] == [1024.0, 1024.0]
  assert rows[2]["error"].startswith("absent")
  text = (out / "throughput.md").read_text()
  assert "speed: met" in text
  assert "--cases='dpo 10M 64+64'" in text
  assert text in capsys.readouterr().out


@pytest.mark.parametrize(
  ("args", "words"),
  [
    (("--suite=theory", "--peers=x"), "--peers has no effect"),
    (("--suite=ops", "--breakdown"), "--breakdown has no effect"),
    (("--suite=throughput", "--seeds=2"), "--seeds has no effect"),
    (("--suite=throughput", "--model=t5"), "--model has no effect"),
    (("--suite=throughput", "--cases=sft"), "no case has 'sft'"),
    (("--suite=throughput", "--contenders=trl"), "no contender 'trl'"),
    (("--suite=throughput", "--peers=/none"), "is not a folder"),
  ],
)
def test_flags_that_fit_nothing_are_refused(args, words, capsys):
  assert given(*args) == 2
  assert words in capsys.readouterr().err


def test_the_peers_are_pinned():
  for name, environment in install.ENVIRONMENTS.items():
    assert all("==" in r for r in environment.requirements)
    assert name in {c.environment for c in contenders.CONTENDERS}
  named = {c.environment for c in contenders.CONTENDERS} - {None}
  assert named == set(install.ENVIRONMENTS)


def test_an_interpreter_too_old_is_said(monkeypatch):
  monkeypatch.setattr(install.shutil, "which", lambda name: None)
  with pytest.raises(UserError, match=r"needs Python 3\.99"):
    install.interpreter((3, 99))


@pytest.mark.slow
def test_our_own_worker_answers(tmp_path):
  ours = next(c for c in contenders.CONTENDERS if c.name == contenders.OURS)
  log = pathlib.Path(tmp_path / "log")
  worker = suite.Worker(ours, TINY, sys.executable, log, seconds=0.05)
  try:
    worker.ready()
    worker.measure()
    worker.turn()
    found = worker.result()
  finally:
    worker.close()
  assert found.error is None
  assert found.seconds[0] > 0
  # Embedding; four d x d, three d x f and two norms; the last norm.
  width, mlp = 64, 128
  block = 4 * width**2 + 3 * width * mlp + 2 * width
  assert found.about["parameters"] == 32_000 * width + block + width
  # A policy that knows nothing yet prefers neither completion much.
  assert found.about["first_loss"] == pytest.approx(0.693, abs=0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_peak_is_of_this_process_alone():
  said = beside_a_large_parent(
    "from benchmarks.throughput import protocol; print(protocol.peak_mb())"
  )
  assert 5 < float(said) < 400
