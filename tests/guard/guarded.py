"""A scratch root that is guarded: a few accounts and files, a baseline key, and drift as the commands find it."""

from __future__ import annotations

from pathlib import Path

from govsec.assemble.guard import accept_baseline, drift
from govsec.config import Config, SigningConfig
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.guard.hostbaseline import HostBaseline
from govsec.guardentry import GuardConfig
from govsec.records import Finding
from govsec.testing.clock import FakeClock

NOON = FakeClock()


class Machine:
    """A scratch root with programs and settings, and a baseline key."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        (self.root / "etc").mkdir(parents=True)
        (self.root / "usr/bin").mkdir(parents=True)
        (self.root / "var/lib/dpkg/info").mkdir(parents=True)
        (self.root / "etc/passwd").write_text("root:x:0:0::/root:/bin/bash\nwang:x:1000:1000::/home/wang:/bin/bash\n")
        (self.root / "etc/group").write_text("root:x:0:\nwang:x:1000:\n")
        (self.root / "etc/shadow").write_text("root:*:1:0:99999:7:::\nwang:*:1:0:99999:7:::\n")
        (self.root / "etc/app.conf").write_text("port = 80\n")
        (self.root / "usr/bin/app").write_text("#!/bin/sh\necho app\n")
        (self.root / "usr/bin/app").chmod(0o755)
        self.signer = Signer.generate(Purpose.BASELINE)
        keys = folder / "keys"
        keys.mkdir(mode=0o700)
        self.signer.save(keys / "baseline.key")
        TrustedKeys([self.signer.public("ops")]).save(folder / "roots.yaml")
        self.config = Config(
            state_dir=folder / "state",
            signing=SigningConfig(baseline_key_file=keys / "baseline.key", roots_file=folder / "roots.yaml"),
            guard=GuardConfig(
                roots=(str(self.root / "etc"), str(self.root / "usr")), exclude=("*/etc/passwd", "*/etc/group")
            ),
        )

    def accept(self) -> HostBaseline:
        return accept_baseline(self.config, NOON, by="wang", root=self.root).baseline

    def drift(self) -> list[Finding]:
        """What is not as accepted."""
        return list(drift(self.config, NOON, root=self.root)[1])
