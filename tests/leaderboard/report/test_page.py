"""report.html without a browser."""

import re

import html_checks
import pytest
from board_cases import ERROR, KL, NASTY, page_rows

from offalign.leaderboard import Row, Sample
from offalign.leaderboard.aggregate import aggregate
from offalign.leaderboard.report import frontier, palette, tables
from offalign.leaderboard.report.page import render_page


@pytest.fixture(scope="module")
def source(report):
  return (report / "report.html").read_text()


@pytest.fixture(scope="module")
def page(source):
  return html_checks.check(source)


def test_the_page_is_whole_and_shows_every_row(page):
  assert page.tags["svg"] > 4
  assert page.tags["img"] == 0
  for label in KL:
    # The board, the frontier's name, its key, the curves', the commands...
    assert page.text.count(label) >= 8
  for said in (
    "A board",
    f"Small. {NASTY}",
    "DPO loses to IPO.",
    "A note.",
    "Sorted by win vs SFT, highest first. Budget of every ranked run: 9,600",
    "Reward gained, KL spent",
    "Learning curves",
    "Head to head",
    "Samples",
    "Not ranked: other budget",
    "Oracle",
    "exact tilt of the reference",
    ERROR,
    "platform Linux, python 3; revision abc",
  ):
    assert said in page.text, said


def test_the_page_says_what_the_text_report_says(report, page):
  """Every number of the text's tables is on the page."""
  text = (report / "report.md").read_text()
  numbers = set(re.findall(r"(?<=\| )[+-]?\d+\.\d{3}(?= [|±])", text))
  assert len(numbers) > 10
  duels = {n for n in numbers if n in ("0.400", "0.600")}  # of two decimals
  missing = {n for n in numbers - duels if n not in page.text}
  assert missing == set()


def test_every_row_has_its_command(page):
  assert "python -m benchmarks.run --suite=all" in page.text
  assert "python -m offalign.leaderboard DIR" in page.text
  for label in KL:
    assert f"python -m benchmarks.run --methods='{label}'" in page.text
  # Rows that keep none are named.
  said = "The rows of dpo, dro_v, kto, sft, slic name no command."
  assert said in page.text


def test_a_board_where_nothing_failed_says_so():
  rows = [row for row in page_rows() if row.status == "ok"]
  page = html_checks.check(render_page(aggregate(rows), {}))
  assert "Every run ended well." in page.text


def test_long_samples_are_cards(row):
  text = "a long answer " * 20
  rows = [row(samples=[Sample("Why?", text, 0.5), Sample("How?", "", -0.5)])]
  source = render_page(aggregate(rows), {})
  page = html_checks.check(source)
  assert '<div class="cards">' in source
  assert text in page.text
  assert "(nothing)" in page.text
  assert "+0.50" in page.text


def test_samples_of_a_control_and_the_three_best(row):
  def made(label, win, **changes):
    samples = [Sample("p", f"by {label}.", win)]
    return row(label, metrics={"win_vs_sft": win}, samples=samples, **changes)

  rows = [made(f"m{i}", 0.5 + 0.1 * i) for i in range(5)]
  rows.append(made("sft", 0.5, control=True))
  page = html_checks.check(render_page(aggregate(rows), {}))
  shown = re.findall(r"by (\w+)\.", page.text)
  assert shown == ["sft", "m4", "m3", "m2"]


def test_infinite_and_missing_numbers_do_not_stop_the_page(row):
  nan, inf = float("nan"), float("inf")
  rows = [
    row("a", metrics={"win_vs_sft": nan, "kl": inf}),
    row("b", metrics={}),
    row("c", metrics={"win_vs_sft": 0.5}, peak_memory_mb=nan),
  ]
  html_checks.check(render_page(aggregate(rows), {}))
  html_checks.check(render_page(aggregate(rows[:2]), {}))


def test_models_of_one_name_are_told_apart(row):
  models = ("t5(width=8)", "t5(width=16)", "decoder(width=8)")
  board = aggregate([row(model=model) for model in models])
  assert list(tables.short_names(board.groups).values()) == [
    "ops, L=0.37, decoder",
    "ops, L=0.37, t5(width=16)",
    "ops, L=0.37, t5(width=8)",
  ]


@pytest.mark.parametrize(
  ("count", "most", "scale"),
  [(19, 4.0, "linear"), (20, 4.0, "linear"), (3, 30.0, "symlog")],
)
def test_the_frontier_makes_room_for_many_and_for_far(row, count, most, scale):
  def metrics(i):
    kl = most * (i + 1) / count
    return {"win_vs_sft": 0.9 - 0.01 * i, "kl": kl, "reward_gain": 0.5}

  rows = [row(f"m{i}", metrics=metrics(i)) for i in range(count)]
  board = aggregate([*rows, row("sft", control=True)])
  points = [{"tau": 0.1, "kl": 2.0, "reward_gain": 0.8}]
  drawn = frontier.figure(board.groups[0], points, palette.styles(board))
  (axes,) = drawn[0].axes
  said = {text.get_text() for text in axes.texts}
  named = {f"m{i}" for i in range(count)}
  ranks = {str(i + 1) for i in range(count)}
  many = count + 1 > 20
  assert (ranks if many else named) | {"sft"} <= said
  assert not (named if many else ranks) & said
  assert axes.get_xscale() == scale
  assert ("Numbers are the ranks" in drawn[1]) == many
  assert ("Beyond 2 nats the axis is log" in drawn[1]) == (scale == "symlog")


def test_samples_and_commands_come_from_the_seeds(row):
  def made(seed, text):
    samples = [Sample("p", text, 0.0)] if text else []
    return row(seed=seed, samples=samples, command=f"run --seeds={seed + 1}")

  rows = [made(2, "two"), made(0, ""), made(1, "one")]
  (entry,) = aggregate(rows).groups[0].ranked
  assert entry.samples == (Sample("p", "one", 0.0),)
  assert entry.command == "run --seeds=3"
  assert isinstance(rows[0], Row)
