import json
import math
import pathlib
import random
import struct
import subprocess
import sys
import zlib

import html_checks
import pytest

from offalign.errors import UserError
from offalign.leaderboard import append, load, render_text, write
from offalign.leaderboard.report.console import WIDTH

ROOT = pathlib.Path(__file__).parents[3]
METHODS = [
  ("rebel(tau=0.1)", 0.887, 0.716, 1.97),
  ("dro_v(tau=0.1)", 0.882, 0.703, 1.97),
  ("gpo(f=exp, beta=0.3)", 0.870, 0.675, 1.89),
  ("slic(beta=0.3)", 0.863, 0.659, 2.31),
  ("gpo(f=truncated_quadratic, beta=0.3)", 0.857, 0.654, 1.50),
  ("kto(beta=3.0)", 0.728, 0.415, 0.97),
  ("kto(beta=3.0) | prompt", 0.805, 0.548, 1.14),
]
META = {
  "title": "A small board",
  "scale": "A synthetic task and a policy of 58,849 parameters.",
  "notes": ["Rewards have mean 0."],
  "command": "python -m benchmarks.run --out DIR",
  "verdicts": ["DRO-V beats KTO."],
  "oracle": {
    "ops": [
      {"tau": 0.1, "kl": 2.1, "reward_gain": 0.8, "win": 0.927},
      {"name": "best of 4", "win": 0.764},
    ]
  },
}


@pytest.fixture
def rows(row):
  made = []
  for seed in range(2):
    for label, win, gain, kl in METHODS:
      value = win + 0.004 * seed
      made.append(
        row(
          label,
          seed,
          loss=label.partition(" |")[0],
          metrics={
            "win_vs_sft": value,
            "reward_gain": gain,
            "kl": kl + 0.1 * seed,
            "z0_share": 0.25,
          },
          folds={"win_vs_sft": [value - 0.01, value + 0.01]},
          curves={"win_vs_sft": [[0, 0.5], [150, 0.6], [300, value]]},
        )
      )
  made.append(
    row(
      "dro_v(tau=0.1)",
      7,
      loss="dro_v(tau=0.1)",
      metrics={},
      status="failed",
      error="not finite at step 12",
    )
  )
  made.append(row("sft greedy", control=True, metrics={"win_vs_sft": 0.627}))
  made.append(row("dpo", budget={"completions": 1, "tokens": 1, "steps": 1}))
  return made


def fill(folder, rows, meta=META):
  for row in rows:
    append(folder / "rows.jsonl", row)
  (folder / "meta.json").write_text(json.dumps(meta))
  return folder


def png_pixels(path):
  """Returns width, height and the raw scan lines of a PNG file."""
  data = path.read_bytes()
  assert data[:8] == b"\x89PNG\r\n\x1a\n"
  width, height = struct.unpack(">II", data[16:24])
  body, at = b"", 8
  while at < len(data):
    (size,) = struct.unpack(">I", data[at : at + 4])
    if data[at + 4 : at + 8] == b"IDAT":
      body += data[at + 8 : at + 8 + size]
    at += 12 + size
  return width, height, zlib.decompress(body)


def test_the_report_has_every_row_and_every_part(rows, tmp_path):
  written = write(load(fill(tmp_path, rows)), tmp_path)
  text = (tmp_path / "report.md").read_text()
  for label, *_ in METHODS:
    cell = label.replace("|", "\\|")
    assert f"| {cell} |" in text
  parts = [
    "# A small board",
    META["scale"],
    META["verdicts"][0],
    META["notes"][0],
    META["command"],
    "python -m offalign.leaderboard DIR",
    "Sorted by win vs SFT, highest first. Budget of every ranked run: 9,600",
    "| 1* | rebel(tau=0.1) | `rebel(tau=0.1)` | pairs, gold label | 2 | 0.889 ",
    "| 0.889 ± 0.002 | +0.716 ± 0.000 | 2.02 ± 0.05 | 3.0 | 2.0 |",
    "| 2/3 |",
    "| dro_v(tau=0.1) | 7 | not finite at step 12 |",
    "Controls, not ranked: sft greedy.",
    "### Not ranked: other budget",
    "| best of 4 |",
    "| z0_share |",
    "- 17 rows: platform Linux, python 3; revision abc",
    *(f"]({path})" for path in written if path.endswith(".png")),
  ]
  for part in parts:
    assert part in text, part
  assert str(tmp_path) not in text


def test_the_machine_readable_report_agrees(rows, tmp_path):
  rows[0] = type(rows[0])(**{**vars(rows[0]), "metrics": {"kl": math.nan}})
  write(load(fill(tmp_path, rows)), tmp_path)
  text = (tmp_path / "report.json").read_text()
  record = json.loads(text, parse_constant=lambda word: pytest.fail(word))
  (group,) = record["groups"]
  assert len(group["entries"]) == len(METHODS) + 2
  assert sum(e["rank"] is not None for e in group["entries"]) == len(METHODS)
  kto = next(e for e in group["entries"] if e["label"] == "kto(beta=3.0)")
  assert kto["metrics"]["win_vs_sft"]["mean"] == pytest.approx(0.73)
  assert kto["metrics"]["win_vs_sft"]["by_seed"] == {"0": 0.728, "1": 0.732}
  rebel = next(e for e in group["entries"] if e["label"] == "rebel(tau=0.1)")
  assert rebel["metrics"]["kl"]["mean"] == "NaN"
  assert group["failures"][0]["error"] == "not finite at step 12"
  assert all((tmp_path / path).is_file() for path in group["plots"])


def test_any_order_of_rows_gives_the_same_bytes(rows, tmp_path):
  texts = []
  for seed in range(2):
    random.Random(seed).shuffle(rows)
    folder = tmp_path / str(seed)
    folder.mkdir()
    fill(folder, rows)
    names = write(load(folder), folder)
    texts.append([(folder / name).read_bytes() for name in names])
    assert names == write(load(folder), folder)
    assert texts[-1] == [(folder / name).read_bytes() for name in names]
  assert texts[0] == texts[1]


def test_the_plots_are_pictures(rows, tmp_path):
  written = write(load(fill(tmp_path, rows)), tmp_path)
  plots = [path for path in written if path.endswith(".png")]
  assert plots == [
    "plots/ops-L=0.37-tiny-frontier.png",
    "plots/ops-L=0.37-tiny-curves.png",
  ]
  for path in plots:
    width, height, lines = png_pixels(tmp_path / path)
    assert width > 1000
    assert height > 500
    # Blank paper, and even an empty pair of axes, deflates to far less.
    assert len(zlib.compress(lines)) > 20_000


def test_a_board_without_curves_or_kl_has_no_plots(row, tmp_path):
  append(tmp_path / "rows.jsonl", row(metrics={"win_vs_sft": 0.5}))
  assert write(load(tmp_path), tmp_path) == [
    "report.md",
    "report.json",
    "report.html",
  ]
  assert not (tmp_path / "plots").exists()
  assert "# Leaderboard" in (tmp_path / "report.md").read_text()


def test_odd_names_and_an_oracle_of_one_point_do_not_stop_it(row, tmp_path):
  curves = {"win_vs_sft": [[0, 0.5], [9, 0.6]]}
  for label in ("a $x_{$ b", "$5 or $6_"):
    append(tmp_path / "rows.jsonl", row(label, curves=curves))
  none = {"ops": [{"tau": 100.0, "kl": 0.0, "reward_gain": 0.0}]}
  (tmp_path / "meta.json").write_text(json.dumps({"oracle": none}))
  written = write(load(tmp_path), tmp_path)
  assert len([path for path in written if path.endswith(".png")]) == 2
  assert "a $x_{$ b" in (tmp_path / "report.html").read_text()


def test_control_characters_in_names_stay_harmless(row, tmp_path):
  curves = {"win_vs_sft": [[0, 0.5], [9, 0.6]]}
  label = "a\x1b[31m\x00 $b </script>"
  append(tmp_path / "rows.jsonl", row(label, curves=curves, command=label))
  written = write(load(tmp_path), tmp_path)
  assert len([path for path in written if path.endswith(".png")]) == 2
  source = (tmp_path / "report.html").read_text()
  page = html_checks.check(source)
  assert page.text.count("a\ufffd[31m\ufffd $b </script>") >= 5
  assert "\x1b" not in source


def test_markdown_makes_nothing_of_what_a_name_says(row, tmp_path):
  label = "a<img src=x>\x1b[2J\u202e [b](http://c) `|"
  rows = (
    row(label, loss="``x`<b>|"),
    row("dpo", metrics={}, status="failed", error="line\n<script>x</script>"),
  )
  for made in rows:
    append(tmp_path / "rows.jsonl", made)
  meta = {"title": "T<b>", "notes": ["<i>"], "command": "a\n```\n<u>"}
  (tmp_path / "meta.json").write_text(json.dumps(meta))
  write(load(tmp_path), tmp_path)
  text = (tmp_path / "report.md").read_text(encoding="utf-8")
  cell = r"a&lt;img src=x>\x1b[2J\u202e [b]\(http://c) `\|"
  assert f"| {cell} |" in text
  assert "| ``` ``x`<b>\\| ``` |" in text  # code, where HTML is text
  assert "| line &lt;script>x&lt;/script> |" in text
  assert "# T&lt;b>" in text
  assert "- &lt;i>" in text
  assert "````\na\n```\n<u>\n" in text
  page = (tmp_path / "report.html").read_text(encoding="utf-8")
  assert "\u202e" not in page + text
  html_checks.check(page)


def test_an_infinite_curve_and_metric_do_not_stop_the_report(row, tmp_path):
  bad = {"win_vs_sft": 0.5, "reward_gain": math.inf, "kl": math.nan}
  curve = {"win_vs_sft": [[0, 0.5], [10, math.nan]]}
  append(tmp_path / "rows.jsonl", row("a", metrics=bad, curves=curve))
  append(tmp_path / "rows.jsonl", row("b", curves=curve))
  names = write(load(tmp_path), tmp_path)
  assert len(names) == 5
  assert "kl is not finite" in (tmp_path / "report.md").read_text()


def test_the_console_table_fits_and_leaves_out_what_it_must(rows, tmp_path):
  text = render_text(load(fill(tmp_path, rows)))
  assert max(map(len, text.splitlines())) <= WIDTH
  for label, win, *_ in METHODS:
    (line,) = [
      line for line in text.splitlines() if f"{win + 0.002:.3f}±0.002" in line
    ]
    assert label[:10] in line
  assert "wall" in text
  assert "no room here" not in text
  assert "Failed: dro_v(tau=0.1), seed 7: not finite at step 12" in text
  assert "Not ranked (other budget): dpo: win vs SFT 0.500" in text
  assert "DRO-V beats KTO." in text


def test_numbers_are_never_cut(row, tmp_path):
  metrics = {
    "win_vs_sft": 0.5,
    "win_vs_ref": 0.5,
    "regret": 123456.5,
    "reward_gain": -123456.0,
    "kl": 123456.0,
    "efficiency": -123456.0,
    "value_rmse": 123456.0,
    "exact": 0.5,
  }
  label = "a" * 60
  append(tmp_path / "rows.jsonl", row(label, metrics=metrics))
  text = render_text(load(tmp_path))
  assert max(map(len, text.splitlines())) <= WIDTH
  line = text.splitlines()[6]
  assert line.split()[-7:] == [
    "label",
    "1",
    "123456.5000",
    "0.500",
    "0.500",
    "-123456.000",
    "123456.00",
  ]
  left_out = "wall s, exact, MB, value RMSE, CPU s, eff"
  assert f"(no room here, see report.md: {left_out})" in text
  # What the table is sorted by stays.
  assert "  exact" in render_text(load(tmp_path, sort="exact"))


def test_a_bad_meta_file_is_one_sentence(row, tmp_path):
  append(tmp_path / "rows.jsonl", row())
  cases = {
    '{"titel": "x"}': "meta.json has no key 'titel'; did you mean 'title'?",
    '{"title": 3}': "meta.json: 'title' is not a string",
    '{"notes": "x"}': "meta.json: 'notes' is not a list of strings",
    '{"oracle": 3}': "meta.json: 'oracle' is neither a list nor a table",
    '{"oracle": {"ops": 3}}': "meta.json: 'oracle.ops' is not a list of",
    '{"oracle": [{"kl": "x"}]}': "a point is a table of numbers",
    "{": "meta.json is not JSON",
    "[]": "meta.json does not hold a JSON object",
  }
  for text, sentence in cases.items():
    (tmp_path / "meta.json").write_text(text)
    with pytest.raises(UserError) as caught:
      load(tmp_path)
    assert sentence in str(caught.value)


def command(*arguments):
  return subprocess.run(
    [sys.executable, "-m", "offalign.leaderboard", *map(str, arguments)],
    capture_output=True,
    text=True,
    cwd=ROOT,
    check=False,
  )


def test_the_command_prints_the_table_without_jax(row, tmp_path):
  append(tmp_path / "rows.jsonl", row(metrics={"win_vs_sft": 0.5}))
  done = command(tmp_path, "--sort=win_vs_sft:min")
  assert done.returncode == 0, done.stderr
  assert "Sorted by win vs SFT, lowest first." in done.stdout
  assert "Wrote report.md, report.json, report.html and 0 plots." in done.stdout
  done = command(tmp_path, "--sort=win_vs_sft:down")
  assert done.returncode == 2
  assert done.stderr.startswith("--sort=win_vs_sft:down: write metric")
  code = "import sys, offalign.leaderboard; print('jax' in sys.modules)"
  seen = subprocess.check_output([sys.executable, "-c", code], text=True)
  assert seen.strip() == "False"


@pytest.mark.parametrize(
  ("arguments", "sentence"),
  [
    (["no-such-folder"], "'no-such-folder' is not a folder\n"),
    (["."], "'.' has no rows in any *.jsonl file\n"),
    ([], "give one folder of rows: python -m offalign.leaderboard DIR\n"),
  ],
)
def test_a_mistake_is_one_sentence_and_exit_status_2(arguments, sentence):
  done = command(*arguments)
  assert (done.returncode, done.stderr) == (2, sentence)


def test_the_page_of_another_program_is_not_replaced(rows, tmp_path):
  fill(tmp_path, rows)
  page = tmp_path / "report.md"
  page.write_text("# Mine\n")
  with pytest.raises(UserError, match=r"report\.md is not a report of"):
    write(load(tmp_path), tmp_path)
  assert page.read_text() == "# Mine\n"
  assert not (tmp_path / "report.json").exists()
  page.unlink()
  for _ in range(2):  # its own it replaces
    assert "report.md" in write(load(tmp_path), tmp_path)
