"""The board as text, Markdown, HTML and pictures."""
