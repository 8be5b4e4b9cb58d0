"""Benchmarks of the reweighter: ``python -m benchmarks.reweight``, ``python -m benchmarks.accuracy``."""
