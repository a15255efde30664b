"""The process that is killed: one backup of a directory into a local repository, as the command line runs it."""

from __future__ import annotations

import sys

from govsec.cli.main import main

if __name__ == "__main__":
    repository, password_file, source = sys.argv[1:]
    sys.exit(main(["backup", "run", "--repo", repository, "--password-file", password_file, "--workers", "2", source]))
