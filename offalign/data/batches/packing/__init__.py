"""Packing: several prompts and their completions in one row."""
