"""Language models behind HTTP: addresses, calls, and answers kept on disk."""
