"""Ways to people, one a module."""
