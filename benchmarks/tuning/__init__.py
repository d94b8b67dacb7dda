"""Equal tuning of every method: random draws, chosen on validation prompts."""
