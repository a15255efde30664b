"""The repository in restic's format, version 2."""
