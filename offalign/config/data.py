"""The data flags of a training run."""

import dataclasses
from typing import Literal

from offalign import spec
from offalign.data.reading.records import FormName


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Where the feedback is and how it is read.

  Attributes:
    path: required; the training feedback: .parquet, .jsonl or .jsonl.gz
      files (a path, a folder, a glob, or several with commas), or a Hugging
      Face dataset name (org/name or org/name:split; uses the network). With
      a weight behind each, a.jsonl:0.7,b.jsonl:0.3, a mixture: rows are drawn
      in these proportions.
    eval_path: held-out feedback, in the same forms.
    eval_fraction: share of the prompts to hold out where there is no
      eval_path; default 0.1, 0 for none.
    eval_rows: held-out rows used at each evaluation, drawn by the seed.
    form: what the columns hold: "traj" (prompt, completion, reward), "label",
      "pairs", "groups", "sft", "messages" or "ultrafeedback"; default: told
      by their names.
    int_labels: take the numbers 0 and 1 for labels.
    bad_rows: what to do about rows that cannot be read: "error" lists them
      and stops, "skip" lists them in bad_rows.jsonl and goes on.
    pairs: how scored completions of a prompt are paired, for losses on
      pairs; default all.
    min_margin: least difference of the rewards of a pair, for losses on
      pairs; closer pairs are dropped and counted.
    label_rule: how rewards become labels, for losses that need labels where
      none are logged; default global_mean.
    label_threshold: the reward above which a completion is labelled true, in
      place of the mean of the data.
    group_size: completions a prompt (K) for losses on groups.
    best_of_n: imitate the best of n completions of a prompt, drawn by the
      seed; 0 = of all that it has. For losses that read no feedback.
    top_fraction: imitate this share of the completions, those of the highest
      rewards. For losses that read no feedback.
    normalize_rewards: bring rewards to mean 0 and variance 1 over the
      training rows; default true for losses that need rewards.
    normalize_by: what has mean 0 and variance 1: all training rows
      ("dataset", the default), those of each source of a mixture, or the
      completions of each prompt.
    max_prompt: longest prompt in tokens; a longer one keeps its end.
    max_completion: longest completion in tokens; a longer one keeps its
      start.
    vanished: what to do about rows with a completion of whose text no token
      is left: "error" names them and stops, "drop" drops and counts them;
      default error.
    cache: a folder to keep tokens in, found again by a hash of what they were
      made of; default none.
  """

  path: str = ""
  eval_path: str | None = None
  eval_fraction: float | None = None
  eval_rows: int = 512
  form: FormName | None = None
  int_labels: bool = False
  bad_rows: Literal["error", "skip"] = "error"
  pairs: (
    Literal["all", "best_worst", "best_random", "adjacent", "random"] | None
  ) = None
  min_margin: float | None = None
  label_rule: Literal["global_mean", "prompt_mean"] | None = None
  label_threshold: float | None = None
  group_size: int | None = None
  best_of_n: int | None = None
  top_fraction: float | None = None
  normalize_rewards: bool | None = None
  normalize_by: Literal["dataset", "source", "prompt"] | None = None
  max_prompt: int = 256
  max_completion: int = 256
  vanished: Literal["error", "drop"] | None = None
  cache: str | None = None

  def __post_init__(self) -> None:
    """Checks the types of the fields.

    Raises:
      UserError: naming the field.
    """
    spec.check_fields("data", self)
