"""Reward models: score completions with the reward model of a run."""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from offalign import losses
from offalign.data.batches import equal_tokens, vocabulary
from offalign.data.reading.parsing import messages_of
from offalign.data.text.ragged import Ragged
from offalign.distributed import sharding
from offalign.errors import UserError
from offalign.learner import Learner, LearnerConfig
from offalign.policy import adapters, recorded_code, start, trained_rewards
from offalign.policy.checkpoint import Checkpoints
from offalign.policy.folder import read_run
from offalign.policy.policy import Policy
from offalign.types import Batch


class Rewards:
  """The reward model of a run's checkpoint, on one device.

  Attributes:
    step: the step of the checkpoint.
  """

  def __init__(self, folder: pathlib.Path, step: str, batch_size: int):
    """Opens the reward model of a run folder.

    Args:
      folder: the run folder.
      step: "newest", "best" or a number.
      batch_size: completions scored at a time.

    Raises:
      UserError: where the folder is no run, or its run trained no reward
        model.
    """
    about = read_run(folder)
    recorded_code.check_loss(folder, about)
    loss = losses.get(about["loss"])
    if not loss.trains_rewards:
      raise UserError(
        f"{folder} trained the loss {loss}, which makes no reward model: name "
        "a run of bradley_terry"
      )
    policy = Policy.load(folder, step)
    self.step, about = policy.step, policy.about
    self._config, self._size = about["config"], batch_size
    self._tokenizer = policy.tokenizer
    mesh = sharding.one_device()
    lora = adapters.config_of(about)
    self._learner = Learner(
      loss,
      policy.model,
      LearnerConfig(value=trained_rewards.value_of(about), lora=lora),
      mesh,
    )
    self._frozen = start.frozen(folder, about, mesh) if lora else None
    self._params = self._restore(folder)

  def _restore(self, folder: pathlib.Path) -> Any:
    learner, key = self._learner, jax.random.key(0)
    policy = jax.eval_shape(learner.model.init, key)
    if self._frozen is not None:
      policy = jax.eval_shape(lambda x: x, self._frozen)
    template = sharding.placed(
      jax.eval_shape(learner.fresh, policy), learner.shardings(policy)
    )
    with Checkpoints(folder) as checkpoints:
      return checkpoints.restore_params(template.params, self.step)

  def of(
    self, pairs: Sequence[tuple[Any, str]]
  ) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Scores each (prompt, completion).

    Args:
      pairs: n pairs of prompt and completion.

    Returns:
      Rewards float32 [n]; a hash of the tokens that each is of, uint64 [n],
      and those of the same tokens have the same reward; and how many texts
      were cut: "cut_prompts" and "cut_completions".

    Raises:
      UserError: for a conversation that the tokenizer has no template for.
    """
    distinct = dict.fromkeys(prompt for prompt, _ in pairs)
    number = {prompt: i for i, prompt in enumerate(distinct)}
    found = self._tokenizer.encode_rows(
      [messages_of(prompt) for prompt in number],
      [(number[prompt], text) for prompt, text in pairs],
      max_prompt=self._config.get("data.max_prompt"),
      max_completion=self._config.get("data.max_completion"),
    )
    x, y = found.prompts, found.completions
    model = self._learner.model
    for tokens in (x.tokens, y.tokens):
      vocabulary.check_tokens(
        tokens, self._tokenizer, model.vocab_size, model.spec
      )
    asked = np.array([number[prompt] for prompt, _ in pairs])
    _, hashes = equal_tokens.digests(x, y, asked)
    # Texts of the same tokens are scored once: other padding, other rounding.
    _, each, back = np.unique(hashes, return_index=True, return_inverse=True)
    each, back = np.sort(each), np.argsort(np.argsort(each))[back]
    rewards = np.empty(len(each), np.float32)
    for begin in range(0, len(each), self._size):
      places = np.arange(begin, begin + self._size)
      real = places < len(each)
      places = np.minimum(places, len(each) - 1)  # pads the last batch
      rows = each[places]
      batch = self._batch(x, y, asked[rows], rows)
      values = self._learner.reward(self._params, batch, self._frozen)
      rewards[places[real]] = np.asarray(values)[real, 0]
    cut = {
      "cut_prompts": found.cut_prompts,
      "cut_completions": found.cut_completions,
    }
    return rewards[back], hashes, cut

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
