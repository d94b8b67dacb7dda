"""Rows of tokens, reward scales, and the batches drawn from them."""
