"""Statistics of comparisons: intervals, differences, scales and power.

What the leaderboard, the judges and comparisons of runs share. The unit of
every mean is the prompt; where a method was trained more than once, the seed
is a second one. Nothing here imports jax or scipy.
"""
