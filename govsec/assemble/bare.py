"""A site where nobody has written a configuration yet: this machine, and nothing known of it.

Only for what needs none: an assessment of this host, and looking at stored ones. Whoever names a configuration, by
option or environment, means it, and its absence is an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from govsec.assemble.systems import Site
from govsec.clock import Clock
from govsec.config import Config


def site_or_bare(path: Path, clock: Clock, *, load: Callable[[], Config], is_default: bool) -> Site:
    """The site of the configuration in ``path``; of none when ``path`` is the usual place and nothing lies there.

    Raises:
        ConfigurationError: as ``load`` raises it.
    """
    if is_default and not path.exists():
        return Site(Config(state_dir=state_directory()), clock)
    return Site(load(), clock)


def state_directory() -> Path:
    """Where a user keeps what a site remembers: the system's place for root, the user's own for everybody else."""
    usual: Path = Config.model_fields["state_dir"].default
    if os.geteuid() == 0:
        return usual
    # XDG Base Directory Specification: state that should persist, and is not important enough to be carried around.
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "govsec"
