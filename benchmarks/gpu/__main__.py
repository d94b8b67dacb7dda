"""python -m benchmarks.gpu --part=...: runs a part; see `run.sh`."""

import argparse
import pathlib
import shlex
import sys
from collections.abc import Sequence

from benchmarks.gpu import attention, checks, decode, sentiment, training
from benchmarks.gpu.page import Page
from offalign.errors import UserError

PARTS = ("check", "t5", "dpo", "attention", "decode", "sentiment")
_WITH_WEIGHTS = {
  "t5": training.t5,
  "dpo": training.dpo,
  "decode": decode.run,
  "sentiment": sentiment.run,
}
_WITHOUT = {"check": checks.run, "attention": attention.run}


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the parts that are named; returns the exit status."""
  parser = argparse.ArgumentParser(
    prog="benchmarks/gpu/run.sh", description=__doc__
  )
  parser.add_argument("--part", required=True, choices=(*PARTS, "all"))
  parser.add_argument("--out", default="results/gpu", help="folder of pages")
  parser.add_argument("--weights", help="a model folder; default: random")
  parser.add_argument(
    "--tiny",
    action="store_true",
    help="a few tokens on any device: shows that the part runs, nothing else",
  )
  args = parser.parse_args(argv)
  words = sys.argv[1:] if argv is None else argv
  command = shlex.join(["benchmarks/gpu/run.sh", *words])
  out, failed = pathlib.Path(args.out), False
  try:
    for part in PARTS if args.part == "all" else (args.part,):
      if part in _WITHOUT and args.weights and args.part != "all":
        raise UserError(f"--weights has no effect with --part={part}")
      if part == "sentiment" and args.part == "all" and not args.weights:
        print("sentiment is left out: it needs --weights")
        continue
      page = Page(part, command, out)
      if part in _WITHOUT:
        _WITHOUT[part](page, args.tiny, out)
      else:
        _WITH_WEIGHTS[part](page, args.tiny, out, args.weights)
      failed = failed or page.failed
      print(f"page: {out / part}.md", flush=True)
  except UserError as error:
    print(f"benchmarks/gpu: {error}", file=sys.stderr)
    return 2
  return int(failed)


if __name__ == "__main__":
  raise SystemExit(main())
