"""A real alignment: SmolLM2 learns to write what a lexicon calls positive."""
