"""Offline alignment of language models in JAX.

One registry of losses, one batch type, one learner, one leaderboard.

    import offalign as oa

    run = oa.Run(loss="dro_v(tau=1.0)", model="google/flan-t5-small",
                 data=rows, out="runs/thumbs")
    policy = run.train()
    policy.generate(["How do I reset it?"])

Names are imported when they are first used, so that `import offalign` takes
no time and brings no jax. Rooms such as `oa.losses` are reached likewise.
"""

from typing import TYPE_CHECKING

from offalign import lazy
from offalign.distributed import interrupts

interrupts.listen_as_program()  # before anything that takes time

__version__ = "0.1.0"

if TYPE_CHECKING:
  from offalign import audit as audit
  from offalign import config as config
  from offalign import data, leaderboard, losses, models, testing
  from offalign import judges as judges
  from offalign import learner as learner
  from offalign import types as types
  from offalign.compare.run import compare_runs
  from offalign.compare.sweep import compare_sweep
  from offalign.config import Config, DataConfig, SelectConfig
  from offalign.data.reading.table import load as load_data
  from offalign.data.text.tokenizer import Tokenizer
  from offalign.distributed.hosts import HostsConfig
  from offalign.distributed.sharding import MeshConfig
  from offalign.errors import UserError
  from offalign.judges.policies import win_rates
  from offalign.leaderboard.rows import Row
  from offalign.learner import Learner, LearnerConfig
  from offalign.learner.optim import OptimizerConfig
  from offalign.learner.value import ValueConfig
  from offalign.losses.base import Loss
  from offalign.models.base import Model
  from offalign.models.lora import LoraConfig
  from offalign.policy.merging.merge import merge_runs
  from offalign.policy.policy import Policy
  from offalign.training.pipelines.run import run_pipeline
  from offalign.training.run import Run
  from offalign.training.sweep import run_sweep
  from offalign.types import Batch, Kind, LossOutput, Scores
else:
  __getattr__, __dir__ = lazy.names(
    __name__,
    {
      "compare.run": ("compare_runs",),
      "compare.sweep": ("compare_sweep",),
      "config": ("Config", "DataConfig", "SelectConfig"),
      "data.reading.table": ("load_data",),
      "data.text.tokenizer": ("Tokenizer",),
      "distributed.hosts": ("HostsConfig",),
      "distributed.sharding": ("MeshConfig",),
      "errors": ("UserError",),
      "judges.policies": ("win_rates",),
      "leaderboard.rows": ("Row",),
      "learner": ("Learner", "LearnerConfig"),
      "learner.optim": ("OptimizerConfig",),
      "learner.value": ("ValueConfig",),
      "losses.base": ("Loss",),
      "models.base": ("Model",),
      "models.lora": ("LoraConfig",),
      "training.pipelines.run": ("run_pipeline",),
      "policy.merging.merge": ("merge_runs",),
      "policy.policy": ("Policy",),
      "training.run": ("Run",),
      "training.sweep": ("run_sweep",),
      "types": ("Batch", "Kind", "LossOutput", "Scores"),
    },
    renamed={"load_data": "load"},
    submodules=(
      "audit",
      "config",
      "data",
      "judges",
      "leaderboard",
      "learner",
      "losses",
      "models",
      "testing",
      "types",
    ),
  )

__all__ = [
  "Batch",
  "Config",
  "DataConfig",
  "HostsConfig",
  "Kind",
  "Learner",
  "LearnerConfig",
  "LoraConfig",
  "Loss",
  "LossOutput",
  "MeshConfig",
  "Model",
  "OptimizerConfig",
  "Policy",
  "Row",
  "Run",
  "Scores",
  "SelectConfig",
  "Tokenizer",
  "UserError",
  "ValueConfig",
  "compare_runs",
  "compare_sweep",
  "data",
  "leaderboard",
  "load_data",
  "losses",
  "merge_runs",
  "models",
  "run_pipeline",
  "run_sweep",
  "testing",
  "win_rates",
]
