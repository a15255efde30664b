"""Append-only, hash-chained, signed evidence: append, replicate, verify, export."""
