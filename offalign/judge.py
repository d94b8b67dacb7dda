"""python -m offalign.judge: says which completions are preferred."""

from offalign.programs.judge import run

if __name__ == "__main__":
  run()
