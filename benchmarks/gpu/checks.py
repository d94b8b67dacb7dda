"""The part check: what must be right before a time means anything."""

import importlib
import pathlib
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.gpu import attention, page, sizes, steps
from benchmarks.gpu.flops import Tokens
from benchmarks.gpu.page import Page
from benchmarks.gpu.sizes import Task, Way
from offalign import losses, testing
from offalign.distributed import sharding
from offalign.learner import Learner, LearnerConfig
from offalign.learner.optim import OptimizerConfig
from offalign.models import logps as scoring
from offalign.models.base import Model
from offalign.policy.checkpoint import Checkpoints
from offalign.types import Batch, Params

EXACT = 1e-4
"""Most nats of a token, and of a loss relative to its size, in float32."""
COARSE = 0.1
"""The same in bfloat16, whose eight bits hold about two digits."""
GOLDEN = 1e-7
"""Largest error of a loss in float64, relative."""

_TESTS = pathlib.Path(__file__).parents[2] / "tests"
_LOSSES = ("dpo(beta=0.1)", "dro_v")
_STEPS = 3


def run(report: Page, tiny: bool, out: pathlib.Path) -> None:
  """Runs every check, and says of each what the largest error was."""
  del out
  rows: list[list[str]] = []
  found: dict[str, float] = {}

  def check(name: str, error: float, limit: float) -> None:
    passed = bool(error <= limit)  # false of NaN too
    found[name] = error
    report.failed = report.failed or not passed
    verdict = "right" if passed else "WRONG"
    rows.append([name, f"{error:.2g}", f"{limit:.2g}", verdict])
    print(f"{name}: {error:.2g} of {limit:.2g}, {verdict}", flush=True)

  for part in (_losses, _logits, _paths, _steps_alike, _resumes):
    part(check, tiny)
  head = ["check", "largest error", "limit", "verdict"]
  report.add("check", found, page.table(head, rows))
  report.say("Something is WRONG." if report.failed else "All is right.")


Check = Callable[[str, float, float], None]


def _losses(check: Check, tiny: bool) -> None:
  """Losses and gradients against the golden cases of the tests."""
  # The cases are the tests' own, which no installed package holds.
  sys.path.insert(0, str(_TESTS / "helpers"))
  try:
    golden = importlib.import_module("golden_cases")
  finally:
    sys.path.remove(str(_TESTS / "helpers"))
  worst = 0.0
  for case in list(golden.cases())[:: 100 if tiny else 1]:
    got = testing.evaluate(case.spec, **case.columns)
    worst = max(worst, _relative(got.values.mean(), case.loss))
    for name, grad in case.grads.items():
      worst = max(worst, _relative(got.grads[name], grad))
  check("losses and gradients, against golden cases, float64", worst, GOLDEN)


def _families(tiny: bool) -> dict[str, dict[str, Any]]:
  if tiny:
    return {"decoder": sizes.TINY, "T5": sizes.TINY_T5}
  decoder = sizes.QWEN | {
    "num_hidden_layers": 4,
    "max_window_layers": 4,
    "vocab_size": 8192,
  }
  t5 = sizes.SHAPES["google/flan-t5-base"] | {
    "num_layers": 4,
    "num_decoder_layers": 4,
    "vocab_size": 8192,
  }
  return {"decoder": decoder, "T5": t5}


def _trained_families(tiny: bool) -> dict[str, dict[str, Any]]:
  """Those of which steps are made; one, where compiling is most of the time."""
  found = _families(tiny)
  return {"decoder": found["decoder"]} if tiny else found


def _task(config: dict[str, Any], loss: str, tiny: bool) -> Task:
  tokens = Tokens(2, 2, 12, 6) if tiny else Tokens(4, 2, 160, 64)
  if loss == "dro_v":
    tokens = Tokens(4, 1, tokens.prompt, tokens.completion)
  return Task("check", loss, config, tokens, (Way("none"),), "adam")


def _logits(check: Check, tiny: bool) -> None:
  """Log-probs of tokens, compiled, against float64 on the CPU."""
  cpu = jax.local_devices(backend="cpu")[0]
  for family, config in _families(tiny).items():
    task = _task(config, "dpo", tiny)
    model, params = _larger(task)
    rows = steps.batch(task, 0)
    with jax.enable_x64(True), jax.default_device(cpu):
      wide = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
      exact = np.asarray(
        jax.jit(_token_logps, static_argnums=0)(model, wide, rows)
      )
    with jax.default_matmul_precision("highest"):
      found = jax.jit(_token_logps, static_argnums=0)(model, params, rows)
    error = float(np.abs(np.asarray(found, np.float64) - exact).max())
    check(f"log-probs of tokens, {family}, float32", error, EXACT)
    if tiny and family == "T5":
      continue  # to compile is most of the time
    thin = jax.tree.map(lambda x: x.astype("bfloat16"), params)
    found = jax.jit(_token_logps, static_argnums=0)(model, thin, rows)
    error = float(np.abs(np.asarray(found, np.float64) - exact).mean())
    check(f"log-probs of tokens, {family}, bfloat16, mean", error, COARSE)


def _larger(task: Task) -> tuple[Model, Params]:
  """Weights of which logits are as large as a trained model's."""
  model, params = steps.weights_of(task)
  return model, jax.tree.map(lambda x: 1.5 * x if x.ndim > 1 else x, params)


def _token_logps(model: Model, params: Params, rows: Batch) -> Any:
  hidden = model.hidden(
    params,
    rows.prompts,
    rows.prompt_mask,
    rows.completions,
    rows.completion_mask,
  )
  return scoring.token_logps(
    hidden.completions,
    model.unembedding(params),
    rows.completions,
    softcap=model.softcap,
  )


def _trained(
  task: Task, device: Any, dtype: str, **options: Any
) -> tuple[list[float], Any, Learner]:
  """The losses of a few steps on a device, and the state after them.

  The learner comes last, to go on with.
  """
  model, params = _larger(task)
  config = LearnerConfig(
    optimizer=OptimizerConfig(learning_rate=1e-3),
    compute_dtype="bfloat16" if dtype == "bfloat16" else None,
    **options,
  )
  mesh = sharding.make_mesh(devices=[device])
  learner = Learner(task.loss, model, config, mesh)
  host = jax.device_get(params)
  state = learner.init(jax.device_put(host, sharding.replicated(mesh)))
  return *_continued(task, learner, state, range(_STEPS)), learner


def _continued(task: Task, learner: Learner, state: Any, which: range) -> Any:
  found = []
  with jax.default_matmul_precision("highest"):
    for seed in which:
      rows = sharding.put_batch(learner.mesh, steps.batch(task, seed))
      state, metrics = learner.train_step(state, rows)
      found.append(float(np.asarray(metrics["losses"]).mean()))
  return found, state


def _steps_alike(check: Check, tiny: bool) -> None:
  """Losses of steps on the device against those of float32 on the CPU."""
  cpu = jax.local_devices(backend="cpu")[0]
  device = jax.devices()[0]
  for family, config in _trained_families(tiny).items():
    for loss in _LOSSES if family == "decoder" and not tiny else _LOSSES[1:]:
      task = _task(config, loss, tiny)
      exact, _, _ = _trained(task, cpu, "float32")
      for dtype, limit in (("float32", EXACT), ("bfloat16", COARSE)):
        if tiny and dtype == "float32" and device == cpu:
          continue  # the same program once more
        found, _, _ = _trained(task, device, dtype)
        name = f"{_STEPS} steps of {losses.get(loss)}, {family}, {dtype}"
        check(
          f"{name}, against float32 on the CPU", _relative(found, exact), limit
        )


def _paths(check: Check, tiny: bool) -> None:
  """Losses of steps by each path of attention against dense ones."""
  device = jax.devices()[0]
  if len(attention.paths()) == 1:
    return
  for family, config in _trained_families(tiny).items():
    task = _task(config, _LOSSES[1], tiny)
    found = {
      path: _trained(task, device, "float32", **attention.options(path))[0]
      for path in attention.paths()
    }
    for path, losses_ in found.items():
      if path != "dense":
        name = f"{_STEPS} steps, {family}, attention {path} against dense"
        check(name, _relative(losses_, found["dense"]), EXACT)


def _resumes(check: Check, tiny: bool) -> None:
  """A state that is saved and read goes on to the bit; so does one that is
  not, which shows whether the device repeats itself."""
  device = jax.devices()[0]
  task = _task(_families(tiny)["decoder"], _LOSSES[1], tiny)
  _, half, learner = _trained(task, device, "bfloat16")
  with (
    tempfile.TemporaryDirectory() as folder,
    Checkpoints(pathlib.Path(folder), 1) as checkpoints,
  ):
    checkpoints.save(half, {})
    checkpoints.wait()
    read = checkpoints.restore(half)
  more = range(_STEPS, 2 * _STEPS)
  _, whole = _continued(task, learner, half, more)
  _, resumed = _continued(task, learner, read, more)
  whole, resumed = jax.device_get((whole, resumed))
  pairs = zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True)
  differ = sum(not np.array_equal(a, b) for a, b in pairs)
  check("leaves of the state that differ after a resumption", differ, 0)


def _relative(found: Any, exact: Any) -> float:
  found, exact = np.asarray(found), np.asarray(exact)
  scale = max(float(np.abs(exact).max(initial=0.0)), 1e-3)
  return float(np.abs(found - exact).max(initial=0.0)) / scale
