"""Completions from an engine behind an OpenAI-compatible endpoint."""
