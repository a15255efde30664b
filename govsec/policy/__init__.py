"""Graded protection: what is asked of a system, what its hosts show, and what follows."""
