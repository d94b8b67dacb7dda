"""Eight virtual devices for every test, and the optional real data."""

import contextlib
import gc
import os
import pathlib

import xla_flags

os.environ.setdefault("XLA_FLAGS", xla_flags.devices(8))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# To compile is nine tenths of the time: `optimized` is for the tests that look
# at what the compiler makes, or run it for long.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Where in the source each operation came from is written into every program.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")

import hypothesis
import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from offalign.distributed import sharding

pytest_plugins = ["checkpoints", "feedback_files", "registries"]

hypothesis.settings.register_profile("offalign", deadline=None)
hypothesis.settings.load_profile("offalign")

# CONTRIBUTING says why the others are not strict.
STRICT_RANKS = {"losses", "learner", "models", "reference", "testing"}
STRICT_DTYPES = {"losses"}


@pytest.fixture(autouse=True)
def _strict(request):
  """Arrays of unlike ranks or dtypes do not meet by accident."""
  room = request.path.relative_to(pathlib.Path(__file__).parent).parts[0]
  with contextlib.ExitStack() as strict:
    if room in STRICT_RANKS:
      strict.enter_context(jax.numpy_rank_promotion("raise"))
    if room in STRICT_DTYPES:
      strict.enter_context(jax.numpy_dtype_promotion("strict"))
    yield


def pytest_collection_modifyitems(items):
  """Files with slow tests come first, so that all workers end together."""
  slow = {item.path for item in items if item.get_closest_marker("slow")}
  items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish():
  """Tests, and what jax keeps of them, are not looked through so often."""
  gc.collect()
  gc.freeze()
  gc.set_threshold(50_000, 20, 50)


# Linux gives a process 65,530 maps of memory and a compiled program takes two
# or three: without this, the process dies after some five thousand tests.
FEW_MAPS = 20_000


@pytest.fixture(autouse=True, scope="module")
def _maps_of_memory():
  """Compiled programs are let go of where a process holds many."""
  yield
  maps = pathlib.Path("/proc/self/maps")
  if maps.is_file() and maps.read_bytes().count(b"\n") > FEW_MAPS:
    jax.clear_caches()
    gc.collect()


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


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory) -> pathlib.Path:
  """Compiled programs of this session, which its workers share."""
  if "PYTEST_XDIST_WORKER" not in os.environ:
    return tmp_path_factory.mktemp("compiled")
  folder = tmp_path_factory.getbasetemp().parent / "compiled"
  folder.mkdir(exist_ok=True)
  return folder


@pytest.fixture
def compiled_once(cache_folder, monkeypatch):
  """Programs that runs have in common are compiled once a session.

  Nine tenths of a small run's time is compilation. Child processes find the
  same cache through their environment.
  """
  settings = {
    "jax_compilation_cache_dir": str(cache_folder),
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
  }
  before = {name: getattr(jax.config, name) for name in settings}
  for name, value in settings.items():
    jax.config.update(name, value)
    monkeypatch.setenv(name.upper(), str(value))
  compilation_cache.reset_cache()
  yield
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


@pytest.fixture
def optimized(monkeypatch):
  """Programs are compiled as they are for users."""
  jax.config.update("jax_disable_most_optimizations", False)
  monkeypatch.delenv("JAX_DISABLE_MOST_OPTIMIZATIONS", raising=False)
  yield
  jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def one_device(monkeypatch):
  """Runs use one of the eight devices, as on most machines."""
  whole = sharding.make_mesh

  def first_alone(config=None, devices=None):
    return whole(config, devices or jax.devices()[:1])

  monkeypatch.setattr(sharding, "make_mesh", first_alone)
