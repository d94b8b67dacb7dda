"""Tokens processed for each useful token, on real feedback.

  python -m benchmarks.padding --data=FOLDER

Useful are the tokens of each prompt, once, and of its completions. Processed
are those that a model computes states for, by way of:

  repeated   every completion with a prompt of its own, as trainers have it,
             cut and padded to fixed lengths; for a decoder prompt and
             completion together, for an encoder-decoder each
  by batch   the same for a decoder, padded to the longest of each batch, as
             trainers without fixed shapes do
  shared     the prompt once for its completions, padded to fixed lengths
  packed     several prompts, each once, in rows of a fixed shape; in brackets
             where that does not pay, and batches are left as shared

Fixed lengths are those of the longest in the data after the cut. The
tokenizer is byte pairs, trained on the texts of the file.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from offalign import data, losses
from offalign.data import Sampler, TokenRows
from offalign.data.batches.packing.packing import Cut, Packing

SETS = (
  ("alpaca_eval/traj_train.parquet", "dro_v"),
  ("alpaca_eval/pairs_train.parquet", "dpo"),
  ("alpaca_eval/krated_train.parquet", "pl_dpo"),
  ("gsm8k/sft_train.parquet", "sft"),
  ("gsm8k/krated_train.parquet", "pl_dpo"),
  ("hh_harmless/pairs_train.parquet", "dpo"),
  ("qa_feedback/pairs_train.parquet", "dpo"),
  ("qa_feedback/krated_train.jsonl.gz", "pl_dpo"),
  ("self_instruct_seed/sft.jsonl", "sft"),
)
"""File of the folder, and a loss that reads it."""
GROUP = 4  # completions of a prompt, for losses on groups


@dataclasses.dataclass(frozen=True)
class Limits:
  """What is kept of long texts.

  Attributes:
    prompt: tokens of a prompt.
    completion: tokens of a completion.
    vocab: of the tokenizer.
  """

  prompt: int
  completion: int
  vocab: int


def read(path: Path, spec: str, limits: Limits) -> TokenRows:
  """The rows that a loss takes of a file."""
  loss = losses.get(spec)
  grouped = loss.kind.value == "group"
  options = data.ViewOptions(group_size=GROUP if grouped else None)
  records = data.load(str(path)).records
  view = data.view(records, loss.kind, loss.needs, options)
  texts: dict[str, None] = {}
  for row in view.rows:
    prompt = row.prompt
    turns = [prompt] if isinstance(prompt, str) else [m.content for m in prompt]
    texts.update(dict.fromkeys((*turns, *row.completions)))
  return data.tokenize(
    view,
    data.make_tokenizer("bpe", list(texts), limits.vocab),
    max_prompt=limits.prompt,
    max_completion=limits.completion,
    vanished="drop",
  )


def ratios(
  rows: TokenRows, batches: list[np.ndarray], packing: Packing
) -> dict[str, float]:
  """Tokens processed for each useful one, by the names above."""
  k = rows.completion_index.shape[1]
  prompts, completions = rows.prompts.lengths, rows.completions.lengths
  together = prompts[rows.completion_prompt] + completions
  drawn = [together[rows.completion_index[picked]] for picked in batches]
  useful = sum(rows.count_tokens(picked) for picked in batches)
  count = k * sum(map(len, batches))
  used = np.unique(rows.completion_index)
  each = rows.prompt_length + rows.completion_length
  return {
    "repeated, decoder": count * int(together[used].max()) / useful,
    "repeated, T5": count * each / useful,
    "by batch": sum(x.size * int(x.max()) for x in drawn) / useful,
    "shared": packing.padded,
    "packed": packing.processed,
  }


def pack(
  rows: TokenRows, batch: int, steps: int, cut: Cut
) -> tuple[list[np.ndarray], Packing]:
  """The batches of a run, and how they are packed."""
  sampler = Sampler(len(rows), min(batch, len(rows)), seed=0)
  batches = [sampler.indices(step) for step in range(steps)]
  weighted = ((picked, rows.weight[picked]) for picked in batches)
  return batches, Packing(rows, weighted, cut, mismatched=False)


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--data", type=Path, required=True)
  parser.add_argument("--max_prompt", type=int, default=256)
  parser.add_argument("--max_completion", type=int, default=256)
  parser.add_argument("--vocab", type=int, default=8192)
  parser.add_argument("--batch", type=int, default=32, help="prompts")
  parser.add_argument("--steps", type=int, default=1000)
  parser.add_argument("--width", type=int, default=512, help="of the model")
  args = parser.parse_args()
  limits = Limits(args.max_prompt, args.max_completion, args.vocab)
  names = ("repeated, decoder", "repeated, T5", "by batch", "shared", "packed")
  print(f"| data | K | useful a prompt | {' | '.join(names)} | rows |")
  print("| :--- | ---: | ---: |" + " ---: |" * len(names) + " :--- |")
  for file, spec in SETS:
    rows = read(args.data / file, spec, limits)
    cut = Cut(shards=1, microbatches=1, width=args.width)
    batches, packing = pack(rows, args.batch, args.steps, cut)
    found = ratios(rows, batches, packing)
    texts = {name: f"{ratio:.2f}" for name, ratio in found.items()}
    shape, where = packing.shape, ""
    if packing.pays:
      where = f"{shape.rows} x ({shape.prompt} + {shape.completion})"
    else:
      texts["packed"] = f"({texts['shared']})"
    k = rows.completion_index.shape[1]
    mean = np.mean([rows.count_tokens(picked) for picked in batches])
    print(
      f"| {file.split('.')[0]} | {k} | {mean / len(batches[0]):.0f} | "
      + " | ".join(texts[name] for name in names)
      + f" | {where} |",
      flush=True,
    )


if __name__ == "__main__":
  main()
