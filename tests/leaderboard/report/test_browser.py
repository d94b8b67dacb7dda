"""report.html in a headless Chromium; skipped where there is none."""

import browsers
import pytest
from board_cases import KL

PHONE, DESK = 360, 1280

ROWS = """[...document.querySelector('table.sortable').tBodies[0].rows].map(
  row => row.querySelector('.name').dataset.key)"""
HEAD = """[...document.querySelector('table.sortable').tHead.rows[0].cells]
  .find(head => head.textContent === %r)"""
SORTS = """[...document.querySelector('table.sortable').tHead.rows[0].cells]
  .filter(head => head.hasAttribute('aria-sort'))
  .map(head => [head.textContent, head.getAttribute('aria-sort')])"""
WIDER = """[...document.body.querySelectorAll('*')].filter(element => {
  const box = element.getBoundingClientRect();
  return box.width && (box.right > innerWidth + 0.5 || box.left < -0.5)
    && !element.closest('.scroll *, .plot.only *, #said');
}).map(element => element.outerHTML.slice(0, 80))"""
# Draws what lies behind each text, then the text's colour, on a canvas: that
# reads every notation of a colour, and transparency.
FAINT = """(() => {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 1;
  const context = canvas.getContext('2d', {willReadFrequently: true});
  const light = colours => {
    context.fillStyle = '#fff';
    for (const colour of ['#fff', ...colours]) {
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
    }
    const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map(c => {
      c /= 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let count = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const style = getComputedStyle(element);
    if (!walker.currentNode.data.trim() || style.visibility === 'hidden'
        || !element.getClientRects().length || element.closest('script')) {
      continue;
    }
    count += 1;
    const behind = [];
    for (let at = element; at; at = at.parentElement) {
      behind.unshift(getComputedStyle(at).backgroundColor);
    }
    const colour = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(behind), light([...behind, colour])];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) {
      found.push(`${ratio.toFixed(2)} ${colour} ${walker.currentNode.data}`);
    }
  }
  return [count, found];
})()"""
PAPER = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
  made = browsers.start(tmp_path_factory.mktemp("profile"))
  yield made
  made.close()


@pytest.fixture
def path(report):
  return report / "report.html"


def test_the_page_asks_for_nothing_and_complains_of_nothing(browser, path):
  for width in (DESK, PHONE):
    for dark in (False, True):
      browser.show(path, width=width, dark=dark)
      assert browser.requests() == [path.resolve().as_uri()]
      assert browser.complaints() == []
      assert browser.run("document.title") == "A board"


def test_headings_sort(browser, path):
  browser.show(path)
  best_first = [*KL, "sft"]
  assert browser.run(ROWS) == best_first
  assert browser.run(SORTS) == [["#", "ascending"]]
  head = HEAD % "KL"
  browser.run(f"{head}.querySelector('button').click()")
  by_kl = sorted([*KL, "sft"], key={**KL, "sft": 0.0}.get)
  assert browser.run(ROWS) == by_kl
  assert browser.run(SORTS) == [["KL", "ascending"]]
  browser.run(f"{head}.querySelector('button').click()")
  assert browser.run(ROWS) == by_kl[::-1]
  assert browser.run(SORTS) == [["KL", "descending"]]
  said = browser.run("document.getElementById('said').textContent")
  assert said == "Sorted by KL, descending."
  # The first click puts the best first; a control's rank sorts last.
  browser.run(f"{HEAD % 'win vs SFT'}.querySelector('button').click()")
  assert browser.run(SORTS) == [["win vs SFT", "descending"]]
  browser.run(f"{HEAD % '#'}.querySelector('button').click()")
  browser.run(f"{HEAD % '#'}.querySelector('button').click()")
  assert browser.run(ROWS) == [*reversed(KL), "sft"]
  assert browser.complaints() == []


@pytest.mark.parametrize(("key", "code"), [("Enter", 13), (" ", 32)])
def test_headings_sort_from_the_keyboard(browser, path, key, code):
  browser.show(path)
  browser.run(f"{HEAD % 'method'}.querySelector('button').focus()")
  browser.press(key, code)
  assert browser.run(ROWS) == sorted([*KL, "sft"])
  assert browser.run(SORTS) == [["method", "ascending"]]


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_nothing_is_wider_than_the_window(browser, path, width):
  browser.show(path, width=width)
  browser.run(
    "document.querySelectorAll('details').forEach(d => d.open = true)"
  )
  assert browser.run("innerWidth") == width
  assert browser.run("document.documentElement.scrollWidth") <= width
  assert browser.run(WIDER) == []


def test_a_phone_gets_pictures_of_its_own(browser, path):
  shown = "[...document.querySelectorAll('.plot')].map(e => e.className + ' '"
  shown += " + (e.getClientRects().length > 0))"
  for width, kind in ((PHONE, "narrow"), (DESK, "wide")):
    browser.show(path, width=width)
    seen = {text for text in browser.run(shown) if text.endswith("true")}
    assert seen == {f"plot {kind} true"}
  key = "document.querySelector('.key').getClientRects().length > 0"
  assert browser.run(key) is False  # names stand in the picture


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_in_either_scheme(browser, path, dark):
  browser.show(path, dark=dark)
  browser.run(
    "document.querySelectorAll('details').forEach(d => d.open = true)"
  )
  paper = browser.run(PAPER)
  assert (paper == "rgb(255, 255, 255)") is not dark
  count, faint = browser.run(FAINT)
  assert count > 100
  assert faint == []
  browser.show(path, dark=dark, width=PHONE)
  assert browser.run(FAINT)[1] == []


def test_a_command_can_be_copied(browser, path):
  browser.show(path)
  browser.run("document.querySelector('button.copy').click()")
  pressed = browser.run(
    "new Promise(done => setTimeout(() => done(["
    "document.querySelector('button.copy').textContent,"
    "getSelection().toString()]), 200))"
  )
  assert pressed[0] in ("Copied", "Selected")
  if pressed[0] == "Selected":
    assert pressed[1].startswith("python -m benchmarks.run")


def test_a_foreign_script_does_not_run(browser, path, tmp_path):
  """Even where escaping failed, the policy holds."""
  source = path.read_text()
  bad = "<script>document.title = 'bad'</script><img src=https://example.com/x>"
  (tmp_path / "bad.html").write_text(source.replace("<main>", f"<main>{bad}"))
  browser.show(tmp_path / "bad.html")
  assert browser.run("document.title") == "A board"
  said = " ".join(str(entry) for entry in browser.complaints())
  assert "Content Security Policy" in said
  loaded = [
    event
    for event in browser.events
    if event["method"] == "Network.responseReceived"
    and not event["params"]["response"]["url"].startswith("file:")
  ]
  assert loaded == []
