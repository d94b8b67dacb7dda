"""python -m offalign.plan: what a training step takes, before paying."""

from offalign.programs.plan import run

if __name__ == "__main__":
  run()
