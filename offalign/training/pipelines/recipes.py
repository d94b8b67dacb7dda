"""The pipelines there are: which stages each has, and their options."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from offalign.errors import UserError, suggest

SFT, REWARD_MODEL = "sft", "reward_model"


@dataclasses.dataclass(frozen=True)
class StageRecipe:
  """A stage of a pipeline, before any option is given.

  Attributes:
    name: of the stage, which its options begin with.
    what: what it does, in some words.
    options: option of a run, with dots -> what it is unless it is given.
    rounds: whether it trains on the policy's samples; others train on the
      data.
  """

  name: str
  what: str
  options: Mapping[str, Any]
  rounds: bool = False


@dataclasses.dataclass(frozen=True)
class Recipe:
  """A pipeline, before any option is given.

  Attributes:
    name: of the pipeline.
    what: what it is, in some words.
    stages: in their order; all but the first begin with the policy of the
      stage `SFT`.
  """

  name: str
  what: str
  stages: tuple[StageRecipe, ...]


_SFT = StageRecipe(
  SFT, "supervised fine-tuning on the data's completions", {"loss": "sft"}
)
_REWARD_MODEL = StageRecipe(
  REWARD_MODEL,
  "a reward model of the data's preferences",
  {"loss": "bradley_terry"},
)


def _with_rounds(
  name: str, what: str, stage: str, does: str, options: Mapping[str, Any]
) -> Recipe:
  last = StageRecipe(stage, does, options, rounds=True)
  return Recipe(name, what, (_SFT, _REWARD_MODEL, last))


RECIPES = {
  recipe.name: recipe
  for recipe in (
    _with_rounds(
      "rlhf",
      "RLHF with PPO (InstructGPT, arXiv:2203.02155)",
      "ppo",
      "PPO on samples that the reward model scores",
      {"loss": "ppo", "grow.every": 4},
    ),
    _with_rounds(
      "rest",
      "grow and improve (ReST, arXiv:2308.08998)",
      "rest",
      "supervised fine-tuning on the samples with the best scores",
      {
        "loss": "sft",
        "grow.samples": 16,
        "grow.rounds": 2,
        "grow.keep": "all",
        "grow.thresholds": "mean,70%,90%",
        "steps": 600,
      },
    ),
    _with_rounds(
      "iterated_dpo",
      "DPO on the best and the worst sample (arXiv:2405.07863)",
      "dpo",
      "DPO on pairs of samples, held to the first policy",
      {"loss": "dpo", "data.pairs": "best_worst", "grow.rounds": 3}
      | {"steps": 600},
    ),
  )
}
"""Name -> pipeline."""

STAGES = tuple(
  dict.fromkeys(x.name for each in RECIPES.values() for x in each.stages)
)
"""The names of the stages of all pipelines."""


def get(name: str) -> Recipe:
  """Finds a pipeline.

  Raises:
    UserError: where there is none of this name.
  """
  if name not in RECIPES:
    raise UserError(
      f"there is no pipeline {name!r}{suggest(name, RECIPES)} (pipelines: "
      f"{', '.join(RECIPES)})"
    )
  return RECIPES[name]
