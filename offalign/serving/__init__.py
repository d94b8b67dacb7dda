"""Serve a policy over HTTP, in the form of OpenAI's chat completions."""
