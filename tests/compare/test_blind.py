"""The blind page: what it hides, and what it saves."""

import json

import browsers
import html_checks
import pytest

from offalign import judges
from offalign.compare import blind
from offalign.errors import UserError
from offalign.generation.completions import Completions

PROMPTS = tuple(f"Prompt {i} <b>" for i in range(12))
DRO = Completions("dro-run", PROMPTS, tuple(f"one {i}" for i in range(12)))
SFT = Completions("sft-run", PROMPTS, tuple(f"two {i}" for i in range(12)))


def test_sides_and_prompts_are_shuffled_by_the_seed():
  shown, same = blind.items(DRO, SFT)
  assert same == 0
  assert len(shown) == 12
  assert {item.prompt for item in shown} == set(PROMPTS)
  assert [item.prompt for item in shown] != list(PROMPTS)
  left = [item.names[0] for item in shown]
  assert 2 <= left.count("dro-run") <= 10
  for item in shown:
    wrote = {"dro-run": "one", "sft-run": "two"}
    assert item.left.startswith(wrote[item.names[0]])
    assert item.right.startswith(wrote[item.names[1]])
  assert blind.items(DRO, SFT)[0] == shown
  assert blind.items(DRO, SFT, seed=1)[0] != shown
  assert blind.items(DRO, SFT, limit=5)[0] == shown[:5]


def test_one_text_twice_is_not_rated():
  half = Completions("x", PROMPTS, (*DRO.texts[:6], *SFT.texts[6:]))
  shown, same = blind.items(half, DRO)
  assert (len(shown), same) == (6, 6)
  with pytest.raises(UserError, match="nothing to rate"):
    blind.items(DRO, Completions("again", PROMPTS, DRO.texts))


def test_the_page_does_not_say_who_wrote_what(tmp_path):
  shown, _ = blind.items(DRO, SFT)
  page, key = blind.write(tmp_path, shown, 0)
  text = page.read_text()
  assert "dro-run" not in text
  assert "sft-run" not in text
  read = html_checks.check(text)
  assert "Prompt 3 <b>" in read.text
  assert "Equally good" in read.text
  record = json.loads(key.read_text())
  assert [(item["left_by"], item["right_by"]) for item in record["items"]] == [
    item.names for item in shown
  ]


@pytest.mark.skipif(browsers.find() is None, reason="no Chromium")
def test_keys_rate_and_the_file_is_a_judge(tmp_path):
  shown, _ = blind.items(DRO, SFT)
  page, _ = blind.write(tmp_path, shown, 0)
  browser = browsers.Browser(tmp_path / "profile")
  try:
    browser.show(page)
    press = (
      "document.dispatchEvent(new KeyboardEvent('keydown', {key: KEY, "
      "bubbles: true}))"
    )
    for key in ("1", "ArrowRight", "u", "0", "2"):
      browser.run(press.replace("KEY", json.dumps(key)))
    said = browser.run("document.querySelector('.progress').textContent")
    assert said == "Pair 4 of 12; 3 rated."
    written = browser.run("written()")
    assert (
      len(
        browser.run(
          "[...document.querySelectorAll('.pair')].filter((x) => !x.hidden)"
          ".map((x) => x.textContent)"
        )
      )
      == 1
    )
  finally:
    browser.close()
  file = tmp_path / "ratings.json"
  file.write_text(written)
  people = judges.make(f"ratings(file='{file}')")
  first = shown[:3]
  verdicts = people.compare(
    [item.prompt for item in first],
    [item.left for item in first],
    [item.right for item in first],
  )
  assert verdicts.preferences.tolist() == [1.0, 0.5, 0.0]
