"""Generation: completions sampled from a policy, and files of them."""
