"""Statistics of a data set: distributions, sums by prompt, facts."""
