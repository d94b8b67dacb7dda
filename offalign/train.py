"""python -m offalign.train: trains a policy on a log of feedback."""

from offalign.programs.train import run

if __name__ == "__main__":
  run()
