"""python -m offalign.export: writes a run as a model folder."""

from offalign.programs.export import run

if __name__ == "__main__":
  run()
