"""python -m offalign.generate: completes prompts with a policy."""

from offalign.programs.generate import run

if __name__ == "__main__":
  run()
