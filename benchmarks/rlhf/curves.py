"""What a run had gained and spent on its way."""

import dataclasses


@dataclasses.dataclass
class Curves:
  """Points of a run, by the step.

  Attributes:
    win_vs_sft: [step, win rate over the SFT policy on validation prompts].
    reward_gain: [step, gold reward gained over it on the same].
    gflops: [step, GFLOPs after the log, reward model included].
  """

  win_vs_sft: list[list[float]] = dataclasses.field(default_factory=list)
  reward_gain: list[list[float]] = dataclasses.field(default_factory=list)
  gflops: list[list[float]] = dataclasses.field(default_factory=list)

  def begin(self, flops: float) -> None:
    """The SFT policy, when so much has been spent."""
    self.add(0, 0.5, 0.0, flops)

  def add(self, step: int, rate: float, gain: float, flops: float) -> None:
    """A policy after so many steps and FLOPs."""
    self.win_vs_sft.append([step, rate])
    self.reward_gain.append([step, gain])
    self.gflops.append([step, round(flops / 1e9, 3)])

  def fields(self) -> dict[str, list[list[float]]]:
    """As `Row.curves`."""
    return dataclasses.asdict(self)
