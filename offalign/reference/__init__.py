"""The reference as data: its log-probs, computed once and stored."""
