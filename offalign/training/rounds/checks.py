"""What rounds cannot be combined with, each in a sentence."""

from offalign.config import Config
from offalign.config import reference as reference_config
from offalign.config.grow import LOG, GrowConfig
from offalign.data.batches import mixture
from offalign.data.views.rows import Needs
from offalign.errors import OPTIONS, UserError, option
from offalign.generation.endpoint import options as endpoint_options
from offalign.losses import Loss
from offalign.training.rounds import logged, refit_checks, scoring
from offalign.types import Kind


def check(config: Config, loss: Loss) -> None:
  """Refuses options of rounds that nothing would read, or that do not work.

  Args:
    config: of a run with rounds.
    loss: of the run.

  Raises:
    UserError: naming the option.
  """
  grow = config.grow
  assert grow is not None
  choice = reference_config.parse(config.reference)
  if config.packing:
    raise UserError(
      f"{option('packing', True)} is set, but the rows of a round are packed "
      "otherwise in each, and every round would compile anew; leave it out"
    )
  if loss.trains_rewards and grow.score is not None:
    raise UserError(
      f"{option('grow.score')} is set, but loss {str(loss)!r} trains a reward "
      "model, which completes nothing; leave it out"
    )
  if choice.kind == "ema" and config.lora is not None:
    raise UserError(
      f"{option('reference', choice)} averages all weights, and LoRA "
      f"({option('lora.rank')}) trains none of them; give round, or leave one "
      "of them out"
    )
  if grow.score is None:
    if not choice.moves:
      raise UserError(
        f"nothing changes between the rounds of {option('grow')}: give "
        f"{option('grow.score')}, to train on samples, or "
        f"{option('reference', 'ema(0.9)')}"
      )
    return
  _check_samples(config, loss)


def _check_samples(config: Config, loss: Loss) -> None:
  """Refuses what the samples of a round cannot be."""
  grow, data = config.grow, config.data
  assert grow is not None
  wants = Needs.of(loss.needs)
  if loss.kind is not Kind.SINGLE and grow.each < 2:
    raise UserError(
      f"{option('grow.samples', grow.each)}: loss {str(loss)!r} compares "
      "completions of a prompt; give 2 or more"
    )
  if not scoring.is_alone(grow):
    _check_comparing(config)
  if grow.thresholds is not None and loss.kind is not Kind.SINGLE:
    raise UserError(
      f"{option('grow.thresholds')} is set, but loss {str(loss)!r} compares "
      "completions, and does not train on the good ones alone; leave it out, "
      "or take sft or sft(on=desirable)"
    )
  if grow.label is not None and not wants.labels:
    raise UserError(
      f"{option('grow.label')} is set, but loss {str(loss)!r} reads no labels; "
      "leave it out"
    )
  if grow.other == LOG:
    logged.check(config, loss)
  for name in ("old_token_values", "token_rewards", "token_weights"):
    if name in loss.needs:
      raise UserError(
        f"loss {str(loss)!r} reads {name}, which samples of a round do not "
        "have; take its options without"
      )
  if grow.refit is not None:
    refit_checks.check(config)
  if grow.sampler is not None:
    _check_sampler(grow, loss)
  reads = wants.rewards or wants.labels or loss.kind is not Kind.SINGLE
  # What weighs samples by their odds, as distill does, imitates none of them.
  reads = reads or wants.behaviour_logps
  if not (reads or grow.thresholds or _selects(config)):
    raise UserError(
      f"loss {str(loss)!r} reads no scores, so that all samples would be "
      f"imitated alike: give {option('grow.thresholds')}, "
      f"{option('data.best_of_n', 0)} or {option('data.top_fraction')}"
    )
  if data.normalize_by not in (None, "dataset"):
    raise UserError(
      f"{option('data.normalize_by', data.normalize_by)} is set, but the "
      "rewards of all rounds have one scale, that of the first; leave it out"
    )
  if data.train_on == "all":
    raise UserError(
      f"{option('data.train_on', 'all')} is set, but samples are single turns; "
      "leave it out"
    )
  if grow.keep == "all" and data.path and mixture.parse(data.path):
    raise UserError(
      f"{option('grow.keep', 'all')} is set, but {option('data.path')} is a "
      f"mixture whose weights samples have no part in: give one source, or the "
      f"other {OPTIONS} of {option('grow')} alone"
    )


def _check_comparing(config: Config) -> None:
  """Refuses what takes scores of single completions."""
  grow = config.grow
  assert grow is not None
  cure = "have it rate each by itself (rubric=default)"
  if grow.each < 2:
    raise UserError(
      f"{option('grow.samples', grow.each)}: {option('grow.score')} compares "
      f"the samples of a prompt with each other; give 2 or more, or {cure}"
    )
  what = scoring.going_by(config)
  if what is not None:
    raise UserError(
      f"{option(what)} goes by the score of held-out prompts, which have one "
      f"completion each, and {option('grow.score')} compares the samples of a "
      f"prompt with each other: {cure}, or leave {option(what)} out, or keep "
      f"the best by a judge ({option('grow.judge')}, {option('select.judge')})"
    )


def _check_sampler(grow: GrowConfig, loss: Loss) -> None:
  """Refuses ratios to log-probs of another distribution than drawn from."""
  assert grow.sampler is not None
  plain = grow.temperature == 1 and grow.top_k is None and grow.top_p is None
  raw = endpoint_options.parse(grow.sampler).logprobs == "raw"
  if Needs.of(loss.needs).behaviour_logps and raw and not plain:
    raise UserError(
      f"loss {str(loss)!r} divides by what samples were drawn with, and an "
      f"engine's raw log-probs are of temperature 1 and all tokens: leave out "
      f"{option('grow.temperature')}, {option('grow.top_k')} and "
      f"{option('grow.top_p')}, or have the engine tell processed ones (vLLM: "
      "--logprobs-mode=processed_logprobs) and say logprobs='processed' in "
      f"{option('grow.sampler')}"
    )


def _selects(config: Config) -> bool:
  data = config.data
  return data.best_of_n is not None or data.top_fraction is not None
