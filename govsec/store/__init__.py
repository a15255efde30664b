"""Stores: where objects lie. Local directory, memory, S3-compatible; wrappers with the same interface."""
