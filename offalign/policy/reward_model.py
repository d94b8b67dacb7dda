"""Rewards of a reward model that a run here has trained."""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from offalign import losses
from offalign.data import Message, Tokenizer
from offalign.data.batches.ragged import Ragged
from offalign.distributed import sharding
from offalign.errors import UserError
from offalign.learner import Learner, LearnerConfig
from offalign.learner.value import ValueConfig
from offalign.policy import adapters, recorded_code, start
from offalign.policy.checkpoint import Checkpoints, choose
from offalign.policy.folder import ABOUT, TOKENIZER, read_about
from offalign.types import Batch


class Rewards:
  """The reward model of a run's checkpoint, on one device.

  Attributes:
    step: of the checkpoint.
  """

  def __init__(self, folder: pathlib.Path, step: str, batch_size: int):
    """Reads tokenizer, model and params.

    Args:
      folder: the run folder.
      step: "newest", "best" or a number.
      batch_size: completions scored at a time.

    Raises:
      UserError: where it is no run, or one that trained no reward model.
    """
    about = read_about(folder)
    if about is None:
      raise UserError(f"{folder} is not a run folder: it has no {ABOUT}")
    recorded_code.check_loss(folder, about)
    loss = losses.get(about["loss"])
    if not loss.trains_rewards:
      raise UserError(
        f"{folder} trained the loss {about['loss']}, which makes no reward "
        "model: name a run of bradley_terry"
      )
    with Checkpoints(folder) as checkpoints:
      if checkpoints.latest is None:
        raise UserError(f"{folder} has no complete checkpoint yet")
    self.step = choose(folder, step, about["config"].get("keep_best"))
    self._config, self._size = about["config"], batch_size
    self._tokenizer = Tokenizer.load(folder / TOKENIZER)
    mesh = sharding.one_device()
    lora = adapters.config_of(about)
    self._learner = Learner(
      loss,
      start.model_of(folder, about),
      LearnerConfig(value=_value(self._config), lora=lora),
      mesh,
    )
    self._frozen = start.frozen(folder, about, mesh) if lora else None
    self._params = self._restore(folder)

  def _restore(self, folder: pathlib.Path) -> Any:
    learner, key = self._learner, jax.random.key(0)
    policy = jax.eval_shape(learner.model.init, key)
    if self._frozen is not None:
      policy = jax.eval_shape(lambda x: x, self._frozen)
    template = jax.tree.map(
      lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
      jax.eval_shape(learner.fresh, policy),
      learner.shardings(policy),
    )
    with Checkpoints(folder) as checkpoints:
      return checkpoints.restore_params(template.params, self.step)

  def of(
    self, pairs: Sequence[tuple[Any, str]]
  ) -> tuple[np.ndarray, dict[str, int]]:
    """The reward of each (prompt, completion), and how many were cut.

    Args:
      pairs: n of them.

    Returns:
      float32 [n], and "cut_prompts" and "cut_completions".

    Raises:
      UserError: for a conversation that the tokenizer has no template for.
    """
    distinct = dict.fromkeys(prompt for prompt, _ in pairs)
    number = {prompt: i for i, prompt in enumerate(distinct)}
    found = self._tokenizer.encode_rows(
      [_messages(prompt) for prompt in number],
      [(number[prompt], text) for prompt, text in pairs],
      max_prompt=self._config.get("data.max_prompt"),
      max_completion=self._config.get("data.max_completion"),
    )
    x, y = Ragged.of(found.prompts), Ragged.of(found.completions)
    asked = np.array([number[prompt] for prompt, _ in pairs])
    rewards = np.empty(len(pairs), np.float32)
    for begin in range(0, len(pairs), self._size):
      rows = np.arange(begin, begin + self._size)
      real = rows < len(pairs)
      rows = np.minimum(rows, len(pairs) - 1)  # the last batch's filling
      batch = self._batch(x, y, asked[rows], rows)
      values = self._learner.reward(self._params, batch, self._frozen)
      rewards[rows[real]] = np.asarray(values)[real, 0]
    cut = {
      "cut_prompts": found.cut_prompts,
      "cut_completions": found.cut_completions,
    }
    return rewards, cut

  def _batch(
    self, x: Ragged, y: Ragged, prompts: np.ndarray, completions: np.ndarray
  ) -> Batch:
    pad = self._tokenizer.pad_id
    tokens, mask = x.padded(prompts, int(x.lengths.max()), pad)
    answers, seen = y.padded(completions, int(y.lengths.max()), pad)
    return Batch(
      prompts=tokens,
      prompt_mask=mask,
      completions=answers[:, None],
      completion_mask=seen[:, None],
      weight=np.ones(len(prompts), np.float32),
    )


def _value(config: dict[str, Any]) -> ValueConfig | None:
  """The value options of a run.json; None where none were given."""
  if "value.network" not in config:
    return None
  return ValueConfig(network=config["value.network"], per=config["value.per"])


def _messages(prompt: Any) -> Any:
  if isinstance(prompt, str):
    return prompt
  return tuple(Message(*turn) for turn in prompt)
