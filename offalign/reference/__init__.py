"""Reference log-probs as data: computed once and stored."""
