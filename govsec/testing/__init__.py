"""Fakes, faults, the store contract suite: shipped and public."""
