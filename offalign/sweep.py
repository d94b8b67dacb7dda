"""python -m offalign.sweep: trains a grid of runs, and says which is best."""

from offalign.programs.sweep import run

if __name__ == "__main__":
  run()
