"""The data flags of a training run."""

import dataclasses
from typing import Literal

from offalign import spec
from offalign.data.reading.records import FormName
from offalign.data.text.layout import LIMIT
from offalign.data.views.options import ViewOptions


@dataclasses.dataclass(frozen=True)
class DataConfig(ViewOptions):
  """Where the feedback is, how it is read, and what a view makes of it.

  `label_rule` lacks the rule "given" of a view, which is what data with
  labels or pairs gets by default.

  Attributes:
    path: required; the training feedback: .parquet, .jsonl, .json, .csv or
      .tsv files (a path, a folder, a glob, or several with commas), a folder
      of save_to_disk, a table of SQLite (log.db::thumbs, or log.db::SELECT
      ...), or a Hugging Face dataset name (org/name or org/name:split; uses
      the network). With
      a weight behind each, a.jsonl:0.7,b.jsonl:0.3, a mixture: rows are drawn
      in these proportions.
    eval_path: held-out feedback, in the same forms.
    eval_fraction: share of the prompts to hold out where there is no
      eval_path; default 0.1, 0 for none.
    eval_rows: held-out rows used at each evaluation, drawn by split_seed.
    split_seed: chooses the held-out prompts, apart from `seed`, so that runs
      of several seeds share one test set; default: that of the run that init
      names, with what that one holds out, else 0.
    form: what the columns hold: "traj" (prompt, completion, reward), "label",
      "pairs", "groups", "sft", "messages", "ultrafeedback", "sharegpt",
      "alpaca", "steps" or "stepwise"; default: recognised by the names of the
      columns.
    columns: columns of other names that are read as those of the form, as
      'completion=response, reward=feedback.score, label=thumb:up/down';
      null in mapped feedback means not rated, and such rows are left out.
    int_labels: accept the numbers 0 and 1 as labels.
    reward_weights: how rewards that are objects of several aspects add up, as
      'helpfulness=0.7, harmless=0.3'; of UltraFeedback, its annotations.
    reward_least: least values of aspects, as 'harmless=3'; a completion below
      one of them has the lowest reward of all.
    reward_scaling: what is done to each aspect before it is weighted: "std"
      brings it to mean 0 and variance 1 over the data, "none" nothing;
      default std.
    bad_rows: what to do about rows that cannot be read: "error" lists them
      and stops, "skip" lists them in bad_rows.jsonl and goes on.
    label_rule: how rewards become labels, for losses that need labels where
      none are logged; default global_mean.
    normalize_rewards: bring rewards to mean 0 and variance 1 over the
      training rows; default true for losses that need rewards.
    normalize_by: which rows together get mean 0 and variance 1: all training
      rows ("dataset", the default), those of each source of a mixture
      ("source"), or the completions of each prompt ("prompt").
    max_prompt: longest prompt in tokens; a longer one keeps its end.
    max_completion: longest completion in tokens; a longer one keeps its
      start.
    vanished: what to do about rows with a completion that has text, but no
      token of that text after tokenising and cutting: "error" names them and
      stops, "drop" drops and counts them; default error.
    template_vars: variables of the tokenizer's chat template, as name=value
      with commas between, such as enable_thinking=false; they go into the
      run's tokenizer, and so hold for generate, judge and export too.
    cache: a folder to keep tokens and reference log-probs in, so that the
      next run with the same texts, tokenizer and limits need not tokenise
      again, and one with the same weights need not score again; default none.
  """

  path: str = ""
  eval_path: str | None = None
  eval_fraction: float | None = None
  eval_rows: int = 512
  split_seed: int | None = None
  form: FormName | None = None
  columns: str | None = None
  int_labels: bool = False
  reward_weights: str | None = None
  reward_least: str | None = None
  reward_scaling: Literal["std", "none"] | None = None
  bad_rows: Literal["error", "skip"] = "error"
  label_rule: Literal["global_mean", "prompt_mean"] | None = None
  normalize_rewards: bool | None = None
  normalize_by: Literal["dataset", "source", "prompt"] | None = None
  max_prompt: int = LIMIT
  max_completion: int = LIMIT
  vanished: Literal["error", "drop"] | None = None
  template_vars: str | None = None
  cache: str | None = None

  def __post_init__(self) -> None:
    """Checks the types of the fields.

    Raises:
      UserError: naming the field.
    """
    spec.check_fields("data", self)
