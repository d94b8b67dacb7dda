"""Headless Chromium over the DevTools protocol, without a package for it.

Chromium reads and writes JSON messages, each ended by a NUL, on file
descriptors 3 and 4 (`--remote-debugging-pipe`).
"""

import base64
import functools
import json
import os
import select
import shutil
import subprocess
import time

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-dev-shm-usage",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
  "--hide-scrollbars",
  "--remote-debugging-pipe",
)
_PATIENCE = 60.0  # seconds for one answer


@functools.cache
def find():
  """The path of a Chromium that starts, or None."""
  paths = filter(None, map(shutil.which, _NAMES))
  return next(filter(_starts, paths), None)


def _starts(path):
  """Whether it is more than a script that asks for another package."""
  try:
    done = subprocess.run(
      [path, "--version"], capture_output=True, timeout=_PATIENCE
    )
  except (OSError, subprocess.TimeoutExpired):
    return False
  return done.returncode == 0


class Browser:
  """A Chromium with one page; `close` ends it."""

  def __init__(self, folder):
    """Starts Chromium with an empty profile in `folder`."""
    to_read, self._to = os.pipe()
    self._from, to_write = os.pipe()

    def wire():
      # Above 4 first: neither pipe may be closed by the other's move.
      first, second = os.dup(to_read), os.dup(to_write)
      os.dup2(first, 3)
      os.dup2(second, 4)

    self._process = subprocess.Popen(
      [find(), *_FLAGS, f"--user-data-dir={folder}", "about:blank"],
      pass_fds=(3, 4),
      preexec_fn=wire,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(to_write)
    self._rest, self._count, self._session = b"", 0, None
    self.events = []
    target = self.call("Target.createTarget", url="about:blank")["targetId"]
    self._session = self.call(
      "Target.attachToTarget", targetId=target, flatten=True
    )["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
      self.call(f"{domain}.enable")

  def call(self, method, **params):
    """Sends a command and returns its result; keeps the events meanwhile."""
    self._count += 1
    message = {"id": self._count, "method": method, "params": params}
    if self._session:
      message["sessionId"] = self._session
    os.write(self._to, json.dumps(message).encode() + b"\0")
    while True:
      answer = self._next()
      if answer.get("id") == self._count:
        if "error" in answer:
          raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]
      self.events.append(answer)

  def _next(self):
    deadline = time.monotonic() + _PATIENCE
    while b"\0" not in self._rest:
      ready, _, _ = select.select(
        [self._from], [], [], max(0.0, deadline - time.monotonic())
      )
      got = os.read(self._from, 1 << 20) if ready else b""
      if not got:
        raise RuntimeError("Chromium ended or does not answer")
      self._rest += got
    message, _, self._rest = self._rest.partition(b"\0")
    return json.loads(message)

  def show(self, path, *, width=1280, height=900, dark=False):
    """Loads a file into a window of that size and scheme, anew."""
    self.call(
      "Emulation.setDeviceMetricsOverride",
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=width < 600,
    )
    scheme = "dark" if dark else "light"
    self.call(
      "Emulation.setEmulatedMedia",
      features=[{"name": "prefers-color-scheme", "value": scheme}],
    )
    self.events.clear()
    self.call("Page.navigate", url=path.resolve().as_uri())
    while not any(e["method"] == "Page.loadEventFired" for e in self.events):
      self.events.append(self._next())

  def run(self, expression):
    """The value of a JavaScript expression."""
    result = self.call(
      "Runtime.evaluate",
      expression=expression,
      returnByValue=True,
      awaitPromise=True,
    )
    if "exceptionDetails" in result:
      raise RuntimeError(json.dumps(result["exceptionDetails"]))
    return result["result"].get("value")

  def press(self, key, code):
    """Presses one key, as a keyboard does."""
    common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
    text = {"text": "\r"} if key == "Enter" else {}
    self.call("Input.dispatchKeyEvent", type="keyDown", **common, **text)
    self.call("Input.dispatchKeyEvent", type="keyUp", **common)

  def requests(self):
    """The addresses asked for since `show`."""
    return [
      event["params"]["request"]["url"]
      for event in self.events
      if event["method"] == "Network.requestWillBeSent"
    ]

  def complaints(self):
    """Errors, warnings and console messages since `show`."""
    names = (
      "Runtime.exceptionThrown",
      "Runtime.consoleAPICalled",
      "Log.entryAdded",
    )
    return [e["params"] for e in self.events if e["method"] in names]

  def picture(self, path, *, whole=True):
    """Writes a screenshot, of the whole page or the window."""
    data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)[
      "data"
    ]
    path.write_bytes(base64.b64decode(data))

  def close(self):
    """Ends Chromium."""
    self._session = None
    try:
      self.call("Browser.close")
      self._process.wait(_PATIENCE)
    except (OSError, RuntimeError, subprocess.TimeoutExpired):
      self._process.kill()
      self._process.wait()
    finally:
      os.close(self._to)
      os.close(self._from)


def start(folder):
  """Starts a browser, or skips the test where there is none."""
  if find() is None:
    pytest.skip(f"no Chromium here (looked for {', '.join(_NAMES)})")
  return Browser(folder)
