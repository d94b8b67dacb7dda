"""python -m offalign.audit: looks at data before training."""

from offalign.programs.audit import run

if __name__ == "__main__":
  run()
