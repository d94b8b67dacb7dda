"""Over-optimisation of a reward model, after Gao et al. (arXiv:2210.10760)."""
