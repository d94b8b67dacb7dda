"""Time of train steps on packed batches, over that on padded ones.

  python -m benchmarks.packing_speed --data=FOLDER

Batches of a file of real feedback, by a small model of each family. Rounds
take the same batch padded and packed, in turn; the ratio is the median over
rounds, so that a busy machine slows both. CPU seconds are of all threads;
on a busy machine they say more than seconds.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks.padding import Limits, pack, read
from offalign import data, models
from offalign.data.batches.packing.packing import Cut
from offalign.distributed import sharding
from offalign.learner import Learner

FAMILIES = {
  "decoder": "decoder(width={width}, layers={layers}, heads=4)",
  "T5": "t5(width={width}, layers={layers}, heads=4)",
}


def main() -> None:
  """Prints a line for each family."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--data", type=Path, required=True)
  parser.add_argument("--file", default="hh_harmless/pairs_train.parquet")
  parser.add_argument("--loss", default="dpo")
  parser.add_argument("--max_prompt", type=int, default=256)
  parser.add_argument("--max_completion", type=int, default=256)
  parser.add_argument("--vocab", type=int, default=8192)
  parser.add_argument("--batch", type=int, default=16, help="prompts")
  parser.add_argument("--width", type=int, default=128)
  parser.add_argument("--layers", type=int, default=4)
  parser.add_argument("--rounds", type=int, default=5)
  args = parser.parse_args()
  limits = Limits(args.max_prompt, args.max_completion, args.vocab)
  rows = read(args.data / args.file, args.loss, limits)
  rows = dataclasses.replace(
    rows, ref_logps=np.zeros(rows.completion_index.shape, np.float32)
  )
  print(f"{args.file}, {args.loss}")
  print("| model | tokens, packed / padded | seconds | CPU seconds |")
  print("| :--- | ---: | ---: | ---: |")
  cut = Cut(shards=1, microbatches=1, width=args.width)
  batches, packing = pack(rows, args.batch, 1000, cut)
  everyone = np.arange(args.batch)
  for family, spec in FAMILIES.items():
    model = models.make(
      spec.format(width=args.width, layers=args.layers), vocab_size=args.vocab
    )
    learner = Learner(args.loss, model, mesh=sharding.one_device())
    state = learner.init(model.init(jax.random.key(0)))
    ratios = []
    for round_, picked in enumerate(batches[: args.rounds + 1]):
      padded = data.batch(rows, picked)
      packed = packing.onto(padded, picked, rows.weight[picked], everyone)
      assert packed is not padded, "packing does not pay here"
      taken = {}
      for name in ("padded", "packed") if round_ % 2 else ("packed", "padded"):
        batch = {"padded": padded, "packed": packed}[name]
        placed = sharding.put_batch(learner.mesh, batch)
        start = time.perf_counter(), time.process_time()
        state, metrics = learner.train_step(state, placed)
        jax.block_until_ready((state, metrics))
        end = time.perf_counter(), time.process_time()
        taken[name] = np.subtract(end, start)
      if round_:  # the first compiles
        ratios.append(taken["packed"] / taken["padded"])
    seconds, cpu = np.median(ratios, axis=0)
    tokens = packing.processed / packing.padded
    print(
      f"| {family} | {tokens:.2f} | {seconds:.2f} | {cpu:.2f} |", flush=True
    )


if __name__ == "__main__":
  main()
