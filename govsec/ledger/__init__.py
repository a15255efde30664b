"""Append-only, hash-chained, signed evidence."""
