import re

import browsers
import comparisons
import html_checks
import pytest

from offalign.compare import page as page_lib
from offalign.compare.page import page, passage

SHOWN = """[...document.querySelectorAll('.comparison')]
  .filter(e => e.getClientRects().length).map(e => e.querySelector('h3')
  .textContent)"""


def test_the_page_is_whole_and_escapes_every_text():
  source = page(comparisons.comparison())
  found = html_checks.check(source)
  assert "alert(1)</script><img" not in source
  assert found.tags["img"] == 0
  # A note, a prompt, three completions, and the name of one policy.
  assert found.text.count(comparisons.NASTY) >= 5
  for entry in comparisons.comparison().entries:
    for text in entry.written.texts:
      assert text.strip() in found.text
  assert "(nothing)" in found.text


def test_every_prompt_is_there_without_a_script():
  source = page(comparisons.comparison())
  said = re.findall(r'<article [^>]*data-outcomes="([^"]*)">', source)
  assert said == ["win loss", "loss tie", "tie loss", "win win"]
  assert '<div class="filters" hidden>' in source
  assert "<article hidden" not in source


def test_a_long_text_is_shortened_and_there_whole():
  short = passage("a b")
  assert (short.head, short.rest) == ("a b", False)
  long = passage(comparisons.LONG)
  assert long.rest
  assert len(long.head) <= page_lib.SHORT
  assert long.whole == comparisons.LONG
  assert "<summary>all 2,000 characters" in page(comparisons.comparison())


def test_of_many_prompts_some_are_shown_and_it_is_said(monkeypatch):
  monkeypatch.setattr(page_lib, "AT_MOST", 2)
  source = page(comparisons.comparison())
  assert source.count("<article") == 2
  assert "2 of 4 prompts are shown" in source


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
  made = browsers.start(tmp_path_factory.mktemp("profile"))
  yield made
  made.close()


@pytest.fixture
def path(tmp_path):
  file = tmp_path / "compare.html"
  file.write_text(page(comparisons.comparison()), encoding="utf-8")
  return file


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_and_asks_for_nothing(browser, path, width, dark):
  browser.show(path, width=width, dark=dark)
  assert browser.requests() == [path.resolve().as_uri()]
  assert browser.complaints() == []
  assert browser.run("document.documentElement.scrollWidth") <= width


def test_filters_show_wins_ties_and_losses(browser, path):
  browser.show(path)
  every = [f"Prompt {i}" for i in (1, 2, 3, 4)]
  assert browser.run(SHOWN) == every

  def choose(outcome, of=""):
    browser.run(f"document.querySelector('input[value=\"{outcome}\"]').click()")
    browser.run(
      f"(e => {{ e.value = '{of}'; e.dispatchEvent(new Event('change', "
      "{bubbles: true})); })(document.querySelector('.filters select'))"
    )
    return browser.run(SHOWN)

  assert choose("win") == [every[0], every[3]]
  assert choose("tie") == [every[1], every[2]]
  assert choose("tie", "1") == [every[1]]
  assert choose("loss", "0") == [every[1]]
  said = browser.run("document.querySelector('.shown').textContent")
  assert said == "1 of 4 prompts are shown."
  assert choose("") == every
