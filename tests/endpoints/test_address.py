"""Addresses of endpoints: what may be asked, and what may not."""

import pytest

from offalign.endpoints import address
from offalign.errors import UserError


def test_a_path_is_added_once():
  for url in ("http://localhost/v1", "http://localhost/v1/completions/"):
    assert address.target(url, "/completions") == (
      "http://localhost/v1/completions"
    )


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]"])
def test_this_machine_needs_no_https(name):
  address.check("x", f"http://{name}:8000/v1", "KEY", allow_http=False)
  assert address.is_local(f"http://{name}:8000/v1")


def test_another_machine_does():
  address.check("x", "https://far.example", "KEY", allow_http=False)
  address.check("x", "http://far.example", "KEY", allow_http=True)
  with pytest.raises(UserError, match=r"x: http://far\.example would send"):
    address.check("x", "http://far.example", "KEY", allow_http=False)
  with pytest.raises(UserError, match="environment variable KEY") as error:
    address.check("x", "https://far.example?k=s3", "KEY", allow_http=False)
  assert "s3" not in str(error.value)
