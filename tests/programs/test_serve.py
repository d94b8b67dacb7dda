"""The server's start: what it needs, and what it says where it cannot."""

import socket

import pytest

from offalign.errors import UserError
from offalign.programs import serve


def test_a_port_in_use_is_a_sentence():
  with serve.listen("127.0.0.1", 0) as bound:
    bound.listen()
    port = bound.getsockname()[1]
    with pytest.raises(
      UserError, match=rf"--host=127\.0\.0\.1 --port={port} cannot be listened"
    ):
      serve.listen("127.0.0.1", port)


@pytest.mark.parametrize("port", [70_000, 65_536])
def test_a_port_that_is_none(port):
  with pytest.raises(UserError, match=f"--port={port} cannot be listened on"):
    serve.listen("127.0.0.1", port)


def test_it_listens_on_this_machine_alone():
  with serve.listen("localhost", 0) as bound:
    assert bound.family in (socket.AF_INET, socket.AF_INET6)
    assert bound.getsockname()[0] in ("127.0.0.1", "::1")
