"""Policies: what a run leaves in its folder, opened, scored and exported."""
