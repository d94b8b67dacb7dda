"""Eight virtual devices for every test, and the optional real data."""

import os
import pathlib

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import hypothesis
import pytest

hypothesis.settings.register_profile("offalign", deadline=None)
hypothesis.settings.load_profile("offalign")


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
  """Real preference data, which is no part of the project.

  Its folder is named by OFFALIGN_TEST_DATA, or lies beside the checkout as
  shared/data; tests that use it skip where it is absent.
  """
  beside = pathlib.Path(__file__).parents[2] / "shared" / "data"
  folder = pathlib.Path(os.environ.get("OFFALIGN_TEST_DATA", beside))
  if not folder.is_dir():
    pytest.skip(f"no preference data at {folder}")
  return folder
