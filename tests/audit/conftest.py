import pytest

from offalign.audit.scan import entries


@pytest.fixture(params=["memory", "disk"])
def where(request, monkeypatch):
  if request.param == "disk":
    monkeypatch.setattr(entries, "HELD", 7)
  return request.param
