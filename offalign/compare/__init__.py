"""Compare trained policies on prompts that none of them was trained on.

Each policy completes the same held-out prompts, a judge compares every one with
the baseline, and the result is written as a page, a table and rows of a
leaderboard. `run.compare_runs` does it all.
"""
