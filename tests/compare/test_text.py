import comparisons

from offalign.compare import text


def test_the_cells_of_a_policy():
  found = comparisons.comparison()
  assert text.result_row(found.baseline)[2:7] == [
    "baseline",
    "–",
    "–",
    "–",
    "–",
  ]
  row = text.result_row(found.others[1])
  rate = found.others[1].duel.found
  assert row[2] == f"0.375 [{rate.low:.3f}, {rate.high:.3f}]"
  assert row[4:7] == ["1", "1", "2"]
  assert text.training_row(found.baseline) == [
    "sft",
    "4",
    "4",
    "32",
    "2",
    "chosen -1.25, rejected -2.50",
    "0.5",
    "–",
  ]
  assert text.lengths_row(found.baseline)[3] == "0 of 4"


def test_what_the_console_says():
  lines = text.console(comparisons.comparison())
  assert lines[1].startswith("kto against sft: win rate 0.375 [")
  assert lines[1].endswith("(1 won, 1 tied, 2 lost)")
  assert lines[-1].startswith("kto: mean score 1.75 [")


def test_markdown_is_inert_and_says_which_kl_it_is():
  said = text.markdown(comparisons.comparison())
  assert "<script" not in said
  assert "not KL(pi || ref)" in said
  rows = [line for line in said.splitlines() if line.startswith("|")]
  assert {row.count("|") for row in rows[:5]} == {9}
