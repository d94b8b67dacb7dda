"""What `offalign.export` says that it wrote."""

import types

import pytest

from offalign.policy.policy import Policy
from offalign.programs import export


@pytest.mark.parametrize(
  ("trains", "adapter", "what"),
  [
    ("policy", False, "the policy of"),
    ("policy", True, "the policy's adapter of"),
    ("rewards", False, "the reward model of"),
    ("rewards", True, "the reward model's adapter of"),
  ],
)
def test_it_names_what_was_trained(
  monkeypatch, tmp_path, capsys, trains, adapter, what
):
  policy = Policy(tmp_path / "run", {"trains": trains}, step=3)
  given = []
  monkeypatch.setattr(Policy, "load", lambda *args: policy)
  monkeypatch.setattr(
    Policy, "export", lambda self, *args, **options: given.append(options)
  )
  values = types.SimpleNamespace(
    run=str(tmp_path / "run"),
    out="out",
    step="newest",
    adapter=adapter,
    dtype="float32",
    imports=None,
  )
  monkeypatch.setattr(export.flags, "FLAGS", values)
  monkeypatch.setattr(export.flags_lib, "require", lambda *args: None)
  assert export.main(["export"]) == 0
  assert f"wrote {what} {tmp_path / 'run'} at step 3" in capsys.readouterr().out
  assert given == [{"adapter": adapter, "dtype": "float32"}]
