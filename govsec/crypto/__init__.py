"""Suites, key files, signing. The one room that imports ``cryptography``."""
