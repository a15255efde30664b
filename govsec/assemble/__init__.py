"""Builds objects from the configuration: the one place where rooms are wired together."""
