"""The configuration of a training run; every field is a flag."""

import dataclasses
import math
import pathlib
from typing import Any, Literal

from offalign import spec
from offalign.config.data import DataConfig
from offalign.config.grow import GrowConfig
from offalign.config.ptx import PtxConfig
from offalign.config.reference import parse, refuse_without_rounds
from offalign.config.select import SelectConfig
from offalign.distributed.hosts import HostsConfig
from offalign.distributed.sharding import AXES, MeshConfig
from offalign.endpoints import address
from offalign.errors import OPTIONS, UserError, option
from offalign.learner.optim import OptimizerConfig, check_warmup
from offalign.learner.value import ValueConfig
from offalign.models.attending import AttentionPath
from offalign.models.base import Remat
from offalign.models.lora import LoraConfig

COMPILING = 2
"""First steps of a process, which compile and are left out of traces."""

STEPS = 1000
"""Updates of a run where neither steps nor epochs are given."""

CHANGEABLE = {
  "steps",
  "epochs",
  "keep",
  "keep_best",
  "eval_every",
  "eval_samples",
  "log_every",
  "save_every",
  "out",
  "remat",
  "logp_chunk",
  "attention",
  "compile_cache",
  "profile",
  "on_divergence",
  "packing",
  "data.cache",
  "grow.rounds",
  "grow.stop",
  *(f"mesh.{axis}" for axis in AXES),
  "mesh.auto",
}
"""Fields that may differ when a run is resumed."""


@dataclasses.dataclass(frozen=True)
class Config:
  """A training run.

  `data`, `value`, `lora`, `ptx`, `select`, `grow`, `optimizer`, `mesh` and
  `hosts` are groups of flags.

  Attributes:
    loss: a loss by spec, e.g. 'dro_v(tau=0.1)' or 'kto(threshold=batch)'.
    model: a Hugging Face model folder, a name on its hub (org/name; uses the
      network), or a new model by spec, e.g. 'decoder(width=128,layers=4)' or
      't5(width=128)'.
    model_ignore: keys of the model's config.json to leave out of account,
      with commas, where you know that they change nothing of what it
      computes; keys that are not known are refused otherwise.
    imports: modules of yours, with commas, that are imported before the loss
      and the model are looked up, e.g. my_losses: installed ones, or files in
      the current folder.
    tokenizer: "bpe" (trained on the training texts), "byte", or a
      tokenizer.json or a folder that holds one; default: the one beside the
      model, or bpe for a new one.
    tokenizer_vocab: size of the vocabulary to train; default 8192, bpe only.
    init: a run folder to start from: its model, tokenizer and newest
      checkpoint. That policy is also the reference, unless another is given.
    init_step: another checkpoint of the init folder: a step, or "best" (see
      keep_best).
    reference: what the policy is held close to: "start" what the run starts
      from; or a run folder, a Hugging Face model folder or a name on its hub,
      with the tokens of this run. With rounds also "round", the policy at the
      last border between rounds, and "ema(DECAY)", which keeps that share of
      the old reference there and moves to the policy for the rest.
    reference_step: another checkpoint of the reference's run folder than its
      newest: a step, or "best".
    out: required; the run folder. A run found there with the same
      configuration goes on where it stopped.
    steps: updates to make; default 1000, unless epochs are given.
    epochs: the same as passes over the training rows, in place of steps.
    batch_size: prompts in an update (the global batch).
    microbatches: pieces that a batch is cut into to save memory; changes
      nothing else.
    packing: put several prompts and their completions into each row that the
      model computes; less padding, and changes nothing else.
    remat: rematerialisation (gradient checkpointing): what the backward pass
      recomputes to save memory: "block" everything inside a layer, "dots"
      everything but its matrix products.
    logp_chunk: tokens of the vocabulary whose logits exist at one time on each
      device, to save memory; default: as many as fit a few dozen megabytes.
      Changes nothing else.
    attention: how attention is computed: "dense" all scores at once,
      "blockwise" a block of them at a time, in memory linear in length,
      "splash" by a kernel of TPUs over prompts with their completions; auto
      chooses by length and device. Changes memory and time, not results.
    seed: seed of the weights and of the order of the data.
    compute_dtype: precision of the activations; params stay in float32, but
      for weights that LoRA freezes.
    router_aux_loss_coef: weight of the load-balancing loss, for a mixture of
      experts; default that of its config.json. 0 turns it off.
    log_every: steps between two lines of metrics.
    eval_every: steps between two evaluations on held-out rows; default a
      fifth of the run.
    eval_samples: completions of held-out prompts that the policy writes at
      each evaluation, to estimate the KL divergence from its reference; 0 =
      none. Default 16, where the loss has a reference that was trained before.
    save_every: steps between two checkpoints; default a fifth of the run.
    keep: newest checkpoints to keep.
    keep_best: a held-out metric, e.g. eval_loss or eval_rewards/accuracies;
      each evaluation better than those before is saved as a checkpoint, and
      the best is kept beside the newest.
    compile_cache: a folder to keep compiled programs in, so that the next run
      with the same shapes starts sooner; trusted like a program. Default
      none.
    profile: steps to trace, after the first two, into RUN/profile; default
      none.
    on_divergence: whether a loss that has grown a thousandfold, which no run
      comes back from, stops the run or is warned of alone. One that is no
      number always stops it.
    ptx: demonstrations to imitate beside the loss, from a second source;
      default none.
    select: keeps the checkpoint that wins most comparisons; default none.
    grow: rounds of samples and scores; default none: rows are those of the
      data.
  """

  loss: str = "dro_v"
  model: str | None = None
  model_ignore: str | None = None
  imports: str | None = None
  tokenizer: str | None = None
  tokenizer_vocab: int | None = None
  init: str | None = None
  init_step: str | None = None
  reference: str = "start"
  reference_step: str | None = None
  out: str = ""
  steps: int | None = None
  epochs: float | None = None
  batch_size: int = 32
  microbatches: int = 1
  packing: bool = False
  remat: Remat = "none"
  logp_chunk: int | None = None
  attention: AttentionPath = "auto"
  seed: int = 0
  compute_dtype: Literal["float32", "bfloat16"] = "float32"
  router_aux_loss_coef: float | None = None
  log_every: int = 10
  eval_every: int | None = None
  eval_samples: int | None = None
  save_every: int | None = None
  keep: int = 3
  keep_best: str | None = None
  compile_cache: str | None = None
  profile: int | None = None
  on_divergence: Literal["stop", "warn"] = "stop"
  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  value: ValueConfig | None = None
  lora: LoraConfig | None = None
  ptx: PtxConfig | None = None
  select: SelectConfig | None = None
  grow: GrowConfig | None = None
  optimizer: OptimizerConfig = dataclasses.field(
    default_factory=OptimizerConfig
  )
  mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
  hosts: HostsConfig | None = None

  def __post_init__(self) -> None:
    """Checks the types of the fields.

    Raises:
      UserError: naming the field.
    """
    spec.check_fields("", self)

  @property
  def last_step(self) -> int:
    """Its steps; where neither steps nor epochs are given, `STEPS`."""
    return STEPS if self.steps is None else self.steps


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
  """Flattens a config: dotted field -> value, for files and comparisons.

  `hosts` is left out, since it belongs to one launch and not to the run.
  """
  out: dict[str, Any] = {}
  for name, value in dataclasses.asdict(config).items():
    if name == "hosts":
      continue
    if isinstance(value, dict):
      out |= {f"{prefix}{name}.{k}": v for k, v in value.items()}
    else:
      out[f"{prefix}{name}"] = value
  return out


def check(config: Config) -> None:
  """Checks the options as far as that needs no data.

  Raises:
    UserError: naming the option.
  """
  if not config.out:
    raise UserError(f"{option('out')} is missing: name the folder of the run")
  counts = ("steps", "batch_size", "microbatches", "logp_chunk")
  for name in (*counts, "log_every", "keep"):
    value = getattr(config, name)
    if value is not None and value < 1:
      raise UserError(f"{option(name)} must be at least 1, not {value}")
  epochs = config.epochs
  if epochs is not None and not 0 < epochs < math.inf:
    raise UserError(
      f"{option('epochs')} must be a number above 0, not {epochs}"
    )
  if epochs is not None and config.steps is not None:
    raise UserError(
      f"{option('epochs', f'{epochs:g}')} is set beside "
      f"{option('steps', config.steps)}; give one"
    )
  if config.data.eval_rows < 1:
    raise UserError(
      f"{option('data.eval_rows')} must be at least 1, not "
      f"{config.data.eval_rows}; {option('data.eval_fraction', 0)} holds "
      "nothing out"
    )
  if config.grow is None:
    refuse_without_rounds(parse(config.reference))
  if config.seed < 0:
    raise UserError(f"{option('seed')} must be 0 or more, not {config.seed}")
  split_seed = config.data.split_seed
  if split_seed is not None and split_seed < 0:
    raise UserError(
      f"{option('data.split_seed')} must be 0 or more, not {split_seed}"
    )
  for name in ("eval_every", "save_every"):
    value = getattr(config, name)
    if value is not None and value < 1:
      raise UserError(f"{option(name)} must be at least 1, not {value}")
  samples = config.eval_samples
  if samples is not None and samples < 0:
    raise UserError(
      f"{option('eval_samples')} must be 0 or more, not {samples}"
    )
  if epochs is None:
    check_steps(config, config.last_step)


def check_steps(config: Config, steps: int) -> None:
  """Checks the options that depend on how many steps there are.

  Args:
    config: the options.
    steps: of the whole run.

  Raises:
    UserError: naming the option.
  """
  traced = config.profile
  if traced is not None and not 1 <= traced <= steps - COMPILING:
    raise UserError(
      f"{option('profile', traced)} cannot be traced: it is of the "
      f"{max(steps - COMPILING, 0)} steps after the first {COMPILING}, "
      f"which compile, of {option('steps', steps)}"
    )
  check_warmup(config.optimizer, steps)


_ASKED = ("grow.score", "grow.judge", "grow.sampler", "select.judge")
"""Options that may name an endpoint."""


def _essence(name: str, value: Any) -> Any:
  """What of an option's value has to stay the same in a run that goes on."""
  if name in _ASKED and isinstance(value, str):
    return address.question(value)
  return value


def refuse_changes(
  config: Config, known: dict[str, Any] | None, folder: pathlib.Path
) -> None:
  """Refuses to resume a run under other options.

  Raises:
    UserError: naming the options that differ.
  """
  if known is None:
    return
  # Versions that had no such option took the run's seed, and the start.
  before, now = dict(known["config"]), flat(config)
  if now["data.split_seed"] is not None:
    before.setdefault("data.split_seed", before["seed"])
  before.setdefault("reference", "start")
  fixed = set(CHANGEABLE)
  if now.get("optimizer.schedule") == "cosine" and config.epochs is None:
    now["steps"] = config.last_step
    fixed.discard("steps")  # the learning rate depends on it
  changed = [
    f"{option(k)} was {before.get(k)!r}, is {now.get(k)!r}"
    for k in sorted({*before, *now} - fixed)
    if _essence(k, before.get(k)) != _essence(k, now.get(k))
  ]
  if changed:
    raise UserError(
      f"{folder} holds a run with other {OPTIONS} ({'; '.join(changed)}): "
      f"give the same {OPTIONS} to go on with it, or name another "
      f"{option('out')}"
    )
