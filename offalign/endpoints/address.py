"""The address of an OpenAI-compatible endpoint: what may be asked, and how."""

import urllib.parse

from offalign import spec as spec_lib
from offalign.errors import UserError

HOW = frozenset(
  {
    "allow_http",
    "cache",
    "key_env",
    "max_bytes",
    "max_calls",
    "max_tokens",
    "retries",
    "timeout",
    "workers",
  }
)
"""Options of an endpoint that say how it is asked, and not what."""

_LOCAL = ("localhost", "127.0.0.1", "::1")


def check(who: str, url: str, key_env: str, *, allow_http: bool) -> None:
  """Refuses a URL that nothing can be asked at, or that gives texts away.

  Args:
    who: what asks, e.g. "judge 'endpoint'".
    url: of the API.
    key_env: the environment variable that holds the key.
    allow_http: lets the key and the texts go unencrypted to another machine.

  Raises:
    UserError: saying what is wrong with it.
  """
  try:
    parts = urllib.parse.urlsplit(url)
  except ValueError as error:
    raise UserError(f"{who}: the url is no http(s) URL: {error}") from None
  if parts.username or parts.password or parts.query or parts.fragment:
    # Neither is shown, as either may hold a key.
    raise UserError(
      f"{who}: the url has a user, a query or a fragment; give the key in the "
      f"environment variable {key_env}"
    )
  if parts.scheme not in ("http", "https") or not parts.hostname:
    raise UserError(f"{who}: {url!r} is no http(s) URL")
  if parts.scheme == "http" and not (is_local(url) or allow_http):
    raise UserError(
      f"{who}: {url} would send the key and the texts unencrypted to another "
      "machine; use https, or say allow_http=True"
    )


def is_local(url: str) -> bool:
  """Whether a URL is of this machine."""
  return urllib.parse.urlsplit(url).hostname in _LOCAL


def target(url: str, end: str) -> str:
  """Where calls go: the URL of an API with a path at its end, once.

  >>> target("http://localhost:8000/v1/", "/completions")
  'http://localhost:8000/v1/completions'
  """
  base = url.rstrip("/")
  return base if base.endswith(end) else base + end


def question(spec: str) -> str:
  """The spec of a judge or a sampler, without how its endpoint is asked.

  Two specs with the same question may stand for each other in a run that goes
  on. A spec of anything else stays as it is.

  >>> question("endpoint(url='http://x/v1', model=m, max_calls=9, workers=2)")
  "endpoint(url='http://x/v1', model=m)"
  >>> question("my_file.py:function")
  'my_file.py:function'
  """
  if not spec.strip().startswith("endpoint("):
    return spec
  name, options = spec_lib.parse(spec, "judge")
  return spec_lib.unparse(
    name, {key: value for key, value in options.items() if key not in HOW}
  )
