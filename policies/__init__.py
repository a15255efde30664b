"""Data packs."""
