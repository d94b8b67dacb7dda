"""python -m offalign.compare: which of several policies is better."""

from offalign.programs.compare import run

if __name__ == "__main__":
  run()
