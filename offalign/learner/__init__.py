"""The learner: one train step that takes any registered loss."""

from offalign.learner.learner import Learner, LearnerConfig, TrainState

__all__ = ["Learner", "LearnerConfig", "TrainState"]
