"""RLHF beside the offline methods, at equal feedback and equal generations."""
