"""Policies: open, score and export what a run leaves in its folder."""
