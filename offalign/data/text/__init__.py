"""Tokenizers, chat templates, and how prompt and completion become tokens."""
