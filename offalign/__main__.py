"""python -m offalign NAME: one of the programs; without a name, their list."""

from offalign.programs import run

if __name__ == "__main__":
  run()
