"""Asking a host: typed probes become one read-only script, and what it says becomes facts."""
