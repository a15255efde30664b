"""``python -m govsec.cli``: the same program where the script is not on the path."""

import sys

from govsec.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
