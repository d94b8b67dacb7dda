import browsers
import html_checks
import pytest
import sweeps

from offalign.compare import grid, grid_page, page
from offalign.sweeping.record import Known

NASTY = "<img src=x onerror=alert(1)> diverged"


@pytest.fixture(scope="module")
def judged():
  sweep = sweeps.sweep(seeds=3)
  name = "tau=1_seed=2"
  sweep.cells[name] = Known("tau=1", 2, {}, "failed", NASTY)
  texts = {x: sweeps.GOOD for x in sweep.cells if x != name}
  found, entries = sweeps.judged(sweep, texts)
  kl = dict.fromkeys(entries, 1.234)
  return grid.make(sweep, entries, found, kl, sampled=True, said=("a note",))


@pytest.fixture(scope="module")
def unjudged():
  sweep = sweeps.sweep(measure=sweeps.accuracy())
  _, entries = sweeps.judged(sweep)
  return grid.make(
    sweep, entries, None, {}, sampled=False, unjudged=grid_page.UNJUDGED
  )


def whole(found):
  first = grid_page.sections(found)
  return page.page(found.comparison, first, grid_page.TITLE)


def test_the_page_begins_with_the_grid_and_keeps_all_of_a_comparison(judged):
  source = whole(judged)
  text = html_checks.check(source).text
  heads = ["Grid", "Options", "Failed cells", "Results", "Lengths", "Training"]
  places = [source.index(f">{head}</h2>") for head in heads]
  assert places == sorted(places)
  assert "win rate against sft, and beside it KL in nats" in text
  assert "KL 1.23" in text
  assert "The options are not told apart by win rate" in text


def test_a_failed_cell_shows_its_sentence_as_text(judged):
  source = whole(judged)
  assert "<img" not in source
  assert NASTY in html_checks.check(source).text


def test_without_a_judge_the_page_says_so(unjudged):
  text = html_checks.check(grid_page.page(unjudged)).text
  assert "No judge was given" in text
  assert "held-out accuracy" in text
  assert "Completions side by side" not in text


def test_markdown_and_json_have_the_same_figures(judged):
  lines = grid_page.markdown(judged).splitlines()
  assert "| option | seed 0 | seed 1 | seed 2 |" in lines
  assert "| tau=1 | 1, KL 1.23 | 1, KL 1.23 | failed |" in lines
  found = grid_page.as_record(judged)
  assert found["measure"] == "win rate"
  cells = found["options"][1]["cells"]
  assert cells[0]["values"]["win rate"] == 1.0
  assert cells[2]["failed"] == NASTY


def test_the_console_has_a_line_an_option_and_the_verdict(judged):
  lines = grid_page.console(judged)
  assert lines[0].startswith("tau=0.3: win rate 1")
  assert lines[-1].startswith("The options are not told apart")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
  started = browsers.start(tmp_path_factory.mktemp("profile"))
  yield started
  started.close()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits(browser, judged, unjudged, tmp_path, width, dark):
  sources = {"judged": whole(judged), "unjudged": grid_page.page(unjudged)}
  for name, source in sources.items():
    path = tmp_path / f"{name}.html"
    path.write_text(source, encoding="utf-8")
    browser.show(path, width=width, dark=dark)
    assert browser.complaints() == []
    assert browser.run("document.documentElement.scrollWidth") <= width
