"""Benchmarks, side by side with Debian's restic and borg; no part of the package."""
