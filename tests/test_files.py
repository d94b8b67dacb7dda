"""JSON that is read whole or refused in a sentence."""

import pytest

from offalign.errors import UserError
from offalign.files import read_object


@pytest.mark.parametrize(
  ("content", "said"),
  [
    (b"{", r"x\.json is not JSON \(.*\); put it back$"),
    (b"[]", r"x\.json does not hold a JSON object; put it back$"),
    (b"[" * 100_000, r"x\.json is not JSON \(nested too deeply\); put"),
    (b'{"a": ' + b"9" * 5_000 + b"}", r"x\.json is not JSON"),
    (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' comes twice"),
    (b'{"a": "\xff"}', r"x\.json cannot be read \(.*\); put it back$"),
  ],
)
def test_what_is_no_object_is_refused(tmp_path, content, said):
  path = tmp_path / "x.json"
  path.write_bytes(content)
  with pytest.raises(UserError, match=said):
    read_object(path, "; put it back")


def test_an_object_is_read(tmp_path):
  path = tmp_path / "x.json"
  path.write_text('{"a": [1, null], "b": {"a": 2}}')
  assert read_object(path) == {"a": [1, None], "b": {"a": 2}}
  with pytest.raises(UserError, match="cannot be read"):
    read_object(tmp_path / "none.json")
