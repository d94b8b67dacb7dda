"""Draw samples from a policy for a round: tokens and their log-probs."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from offalign.config.grow import GrowConfig
from offalign.data import Tokenizer
from offalign.data.text.ragged import Ragged
from offalign.distributed import hosts, sharding
from offalign.distributed.signals import Stop
from offalign.generation import slots
from offalign.models.base import Model
from offalign.types import Params


@dataclasses.dataclass(frozen=True)
class Drawn:
  """Completions as they were drawn, M of them.

  Attributes:
    tokens: of each, the token that ends it included.
    logps: float32 [M], summed log-probs under the policy that wrote them, at
      temperature 1 and over all tokens; nats. NaN where a log has it.
    token_logps: float32, of each of `tokens` under the distribution that it
      was drawn from, with its temperature, top_k and top_p, which is what
      ratios divide by; nats.
    finished: bool [M], whether it ended by itself and was not cut.
  """

  tokens: Ragged
  logps: np.ndarray
  token_logps: Ragged
  finished: np.ndarray

  @classmethod
  def of_first(
    cls, draw: Callable[[Callable[[], None]], "Drawn"], stop: Stop
  ) -> "Drawn":
    """What the first process draws by itself, in every process.

    Args:
      draw: called in the first process alone, with a function to call now and
        then; see `hosts.from_first_watched`.
      stop: looked at meanwhile, in every process.

    Raises:
      UserError: in every process, where the first raises one.
      Stopped: where the run was asked to stop.
    """

    def arrays(watch: Callable[[], None]) -> dict[str, np.ndarray]:
      drawn = draw(watch)
      return {
        "tokens": drawn.tokens.tokens,
        "offsets": drawn.tokens.offsets,
        "logps": drawn.logps,
        "token_logps": drawn.token_logps.tokens,
        "finished": drawn.finished,
      }

    found = hosts.from_first_watched(arrays, stop.check)
    tokens = Ragged(found["tokens"], found["offsets"])
    each = Ragged(found["token_logps"], found["offsets"])
    return cls(tokens, found["logps"], each, found["finished"])

  @classmethod
  def joined(cls, parts: Sequence["Drawn"], order: np.ndarray) -> "Drawn":
    """Joins parts end to end, and takes them in an order."""
    tokens = [row for part in parts for row in part.tokens]
    each = [row for part in parts for row in part.token_logps]
    return cls(
      Ragged.of([tokens[i] for i in order]),
      np.concatenate([part.logps for part in parts])[order],
      Ragged.of([each[i] for i in order], np.float32),
      np.concatenate([part.finished for part in parts])[order],
    )


@dataclasses.dataclass(frozen=True)
class Drawer:
  """Samples with shapes that never change, so that it is compiled once.

  Attributes:
    tokenizer: of the prompts.
    mesh: the devices.
    options: how tokens are drawn.
    width: tokens that prompts are padded to.
    longest: tokens of a completion at most.
    batch: sequences at a time; a multiple of what the devices need.
    stop: looked at after each batch.
  """

  tokenizer: Tokenizer
  mesh: Any
  options: GrowConfig
  width: int
  longest: int
  batch: int
  stop: Stop

  def draw(
    self,
    model: Model,
    params: Params,
    prompts: Ragged,
    which: np.ndarray,
    seeds: np.ndarray,
    *,
    alone: Callable[[], None] | None = None,
  ) -> Drawn:
    """Draws one completion for each of `which`.

    Args:
      model: the policy's.
      params: the policy's.
      prompts: tokens.
      which: int [M], the prompts to complete.
      seeds: int [M]: a completion depends on its prompt and seed alone.
      alone: one process of several draws, and calls this after each batch.

    Raises:
      Stopped: where the run was asked to stop.
    """
    ends = list(self.tokenizer.end_ids)
    made = slots.complete(
      model,
      params,
      prompts,
      which,
      seeds=seeds,
      slots=self.batch,
      max_new_tokens=self.longest,
      eos_id=ends,
      temperature=self.options.temperature,
      top_k=self.options.top_k,
      top_p=self.options.top_p,
      width=self.width,
      put=self._put,
      get=hosts.whole,
      after=alone or self.stop.check,
    )
    found = [x.tokens for x in made]
    return Drawn(
      Ragged.of(found),
      np.array([x.logps for x in made], np.float32),
      Ragged.of([x.token_logps for x in made], np.float32),
      np.array([row[-1] in ends for row in found], bool),
    )

  def _put(self, rows: Any) -> Any:
    """Places a batch on the mesh: of each process's rows, its own."""
    mine = sharding.local_rows(self.mesh, self.batch)
    return sharding.put_batch(self.mesh, jax.tree.map(lambda x: x[mine], rows))


def batch_of(mesh: Any, microbatches: int, sequences: int) -> int:
  """How many sequences are drawn at a time: a multiple that devices divide.

  Args:
    mesh: the devices.
    microbatches: of the run.
    sequences: of a batch of training, which take more memory than to draw
      as many.
  """
  shards = [mesh.shape[axis] for axis in sharding.BATCH_AXES]
  unit = math.prod(shards) * microbatches
  return -(-sequences // unit) * unit
