"""Small training runs that several test files share."""

import functools
import json
import pathlib
import subprocess
import sys

import jax
import pytest
import xla_flags
from absl import flags as absl_flags

from offalign.config import Config
from offalign.config.config import DataConfig
from offalign.distributed.signals import Stop
from offalign.errors import UserError, render
from offalign.policy.checkpoint import Checkpoints
from offalign.programs import flags as flags_lib
from offalign.programs import judge as judge_lib
from offalign.training.run import Run

DECODER = "decoder(width=16, layers=1, heads=2)"
T5 = "t5(width=16, layers=1, heads=2, head_dim=8)"


def write_log(path, prompts=16, each=4):
  """A log of rewards: yes earns 1, no 0, and a little that depends on both."""
  lines = []
  for i in range(prompts * each):
    prompt, k = divmod(i, each)
    row = {
      "prompt": f"is {prompt} a number?",
      "completion": ("no", "yes")[k % 2] + f", {k}",
      "reward": k % 2 + 0.01 * (i % 7),
    }
    lines.append(json.dumps(row) + "\n")
  pathlib.Path(path).write_text("".join(lines), encoding="utf-8")
  return str(path)


def flags(log, out, **changes):
  """Flags of a run of a second or two, compilation apart."""
  given = {
    "out": out,
    "data.path": log,
    "data.eval_fraction": 0.25,
    "data.max_prompt": 16,
    "data.max_completion": 8,
    "model": DECODER,
    "tokenizer": "byte",
    "steps": 4,
    "batch_size": 8,
    "log_every": 2,
    "eval_every": 2,
    "save_every": 2,
  }
  given |= {name.replace("__", "."): value for name, value in changes.items()}
  return {k: v for k, v in given.items() if v is not None}


def config(log, out, **changes):
  """The same as a `Config`; `data__pairs="all"` is --cfg.data.pairs=all."""
  given = flags(str(log), str(out), **changes)
  data = {k[5:]: v for k, v in given.items() if k.startswith("data.")}
  rest = {k: v for k, v in given.items() if not k.startswith("data.")}
  return Config(data=DataConfig(**data), **rest)


def train(log, out, **changes):
  """The run, trained."""
  run = Run(config(log, out, **changes))
  run.train()
  return run


def command(*args):
  """A child process of the binary, with one device."""
  return subprocess.Popen(
    [sys.executable, "-m", "offalign.train", *args],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=xla_flags.environment(),
  )


def judge_command(*args):
  """The exit status of `offalign judge`, in this process."""
  return program(judge_lib, *args)


def program(library, *args):
  """The exit status of a program, in this process."""
  values = absl_flags.FlagValues()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(absl_flags, "FLAGS", values)
    patch.setattr(sys, "argv", ["program", *args])
    patch.setattr(sys.modules["__main__"], "__doc__", None)
    patch.setattr(
      flags_lib.app,
      "run",
      lambda main, flags_parser: sys.exit(main(flags_parser(sys.argv))),
    )
    kinds = ("string", "multi_string", "list", "integer", "float", "bool")
    for kind in kinds:
      define = getattr(absl_flags, f"DEFINE_{kind}")
      known = functools.partial(define, flag_values=values)
      patch.setattr(absl_flags, f"DEFINE_{kind}", known)
    with pytest.raises(SystemExit) as end:
      library.run()
  return end.value.code


def as_args(given):
  """Flags as they stand on a command line."""
  return [f"--cfg.{name}={value}" for name, value in given.items()]


def metrics(folder):
  """The lines of metrics.jsonl, without how fast they came."""
  text = (pathlib.Path(folder) / "metrics.jsonl").read_text(encoding="utf-8")
  lines = [json.loads(line) for line in text.splitlines()]
  for line in lines:
    line.pop("tokens_per_second", None)
  return lines


def contents(folder):
  """Every file under a folder, as bytes."""
  folder = pathlib.Path(folder)
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


def write(path, rows):
  text = "".join(json.dumps(row) + "\n" for row in rows)
  pathlib.Path(path).write_text(text, encoding="utf-8")
  return path


def rows_of(log):
  lines = pathlib.Path(log).read_text(encoding="utf-8").splitlines()
  return [json.loads(line) for line in lines]


def refused(log, out, **changes):
  """What the program says when it refuses a run; nothing may be written."""
  with pytest.raises(UserError) as error:
    Run(config(log, out, **changes))
  assert not out.exists()
  assert "--" not in str(error.value)  # Python has options, and no flags
  return in_flags(error.value)


def in_flags(error):
  """An error's message as `offalign train` prints it."""
  return render(error, flags_lib.of_config)


def state_of(run, folder=None):
  """The newest state in a run's folder: params, optimiser and step."""
  template = run.learner.init(run.learner.model.init(jax.random.key(0)))
  with Checkpoints(folder or run.folder) as checkpoints:
    return jax.device_get(checkpoints.restore(template))


class After(Stop):
  """Is asked to stop when it is looked at for the n-th time."""

  def __init__(self, n):
    super().__init__()
    self.left = n

  def check(self):
    self.left -= 1
    self._asked = self.left <= 0
    super().check()
