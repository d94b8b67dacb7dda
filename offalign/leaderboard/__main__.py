"""python -m offalign.leaderboard: the board of a folder of rows."""

from offalign.programs.leaderboard import run

if __name__ == "__main__":
  run()
