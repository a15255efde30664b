"""What a site's sensor keeps between runs, below ``STATE_DIR/monitor``: its baseline, and what people dismissed."""

from __future__ import annotations

from pathlib import Path

from govsec.config import Config
from govsec.errors import ConfigurationError, TryAgainError
from govsec.findings.baseline import Baseline
from govsec.findings.quiet import DismissalFile, Quiet
from govsec.privatefile import make_private_directory


def monitor_folder(config: Config) -> Path:
    """Where it lies."""
    return config.state_dir / "monitor"


def live_folder(config: Config, interface: str) -> Path:
    """Where the sensor of one interface keeps what it has learned; it alone writes there.

    Raises:
        ConfigurationError: no interface can have that name.
    """
    if not interface or "/" in interface or interface.startswith("."):
        raise ConfigurationError(f"{interface!r} is no name of an interface")
    return monitor_folder(config) / f"live-{interface}"


def dismissals_of(config: Config) -> DismissalFile:
    """The site's dismissals."""
    return DismissalFile(monitor_folder(config) / "dismissals.json")


def quiet_of(config: Config) -> Quiet:
    """What the site has dismissed and what it allows, as it is now.

    Raises:
        FormatError: the file of dismissals is none of ours. TryAgainError: it cannot be read.
    """
    # What it allows is networks, and those are numpy's: an agent that watches a host does without.
    from govsec.detect.allowances import allowances_of

    return Quiet(dismissals_of(config).read(), allowances_of(config.monitor.allow))


def open_baseline(path: Path) -> Baseline:
    """The baseline in a file, made when it is not there.

    Raises:
        FormatError: it is no baseline. TryAgainError: it cannot be made or written.
    """
    try:
        make_private_directory(path.resolve().parent)
    except OSError as error:
        raise TryAgainError(f"{path.parent}: {error.strerror}") from error
    return Baseline(path)
