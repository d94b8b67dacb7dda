"""Benchmarks that generate all their data in code."""
