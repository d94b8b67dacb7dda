"""Rounds: rows that are made anew while a run trains."""
