"""Meshes, shardings, several processes, and signals that end a run."""
