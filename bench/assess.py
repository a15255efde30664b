"""govsec and Lynis side by side on this host: how long each takes, and what each found that the other did not.

    python -m bench.assess [rounds, default 3]

Lynis (Debian's, ``audit system --quick``) knows no requirement of GB/T 22239 and gives suggestions by test; govsec
gives verdicts by requirement. They are compared by topic, from the names of tests and checks: a topic where only one of
them has something to say is printed with what it says. Both run as this user; root sees more.
"""

from __future__ import annotations

import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.measure import Measured, measure
from govsec.policy.results import Status
from govsec.policy.run import Assessment
from govsec.policy.runfolder import find_run, read_assessment

_BUDGET_S = 3.0
#: Topic: how Lynis's tests begin, and govsec's checks.
_TOPICS: Mapping[str, tuple[str, str]] = {
    "ssh": ("^SSH-", "^sshd-"),
    "accounts and passwords": ("^AUTH-", "^accounts-"),
    "kernel, files, boot and integrity": ("^(KRNL|BOOT|HRDN|USB|STRG|FILE|HOME|FINT|TOOL)-", "^linux-kernel-"),
    "audit, logs and time": ("^(LOGG|ACCT|PROC|TIME)-", "^linux-audit-"),
    "services, network, packages and malware": ("^(FIRE|NETW|NAME|PKGS|DEB|MALW|INSE)-", "^linux-system-"),
    "TLS and certificates": ("^CRYP-", "^tls-"),
    "web servers": ("^(HTTP|PHP)-", "^nginx-"),
    "databases": ("^(DBS|SQD)-", "^(postgresql|mysql|redis)-"),
    "containers": ("^CONT-", "^docker-"),
    "backup and drills": ("^BACKUP-", "^continuity"),
}


def _govsec(state: Path) -> Measured:
    config = state / "govsec.yaml"
    config.write_text(f"state_dir: {state}\n", encoding="utf-8")
    argv = [sys.executable, "-m", "govsec.cli", "assess", "run", "--config", str(config), "--compare", "none", "-q"]
    return measure(argv, exit_codes=(0, 1))


def _lynis(folder: Path) -> Measured:
    report, log = folder / "report.dat", folder / "lynis.log"
    argv = ["lynis", "audit", "system", "--quick", "--no-colors", "--report-file", str(report), "--logfile", str(log)]
    return measure(argv, exit_codes=range(256))


def _said_by_lynis(report: Path) -> dict[str, str]:
    """Warnings and suggestions by test."""
    found: dict[str, str] = {}
    for line in report.read_text(encoding="utf-8", errors="replace").splitlines():
        match = re.fullmatch(r"(?:warning|suggestion)\[\]=([A-Z0-9-]+)\|([^|]*)\|.*", line)
        if match:
            found[match[1]] = match[2]
    return found


def _said_by_govsec(made: Assessment) -> dict[str, str]:
    """Failed and partial checks with their titles."""
    bad = (Status.FAIL, Status.PARTIAL)
    return {row.check: made.checks[row.check].title.en for row in made.results if row.status in bad}


def _of(topic: str, side: int, said: Mapping[str, str]) -> list[str]:
    pattern = re.compile(_TOPICS[topic][side])
    return [f"{name}: {words}" for name, words in sorted(said.items()) if pattern.search(name)]


def _print(title: str, lines: Iterable[str]) -> None:
    print(f"\n{title}")
    for line in lines:
        print(f"  {line}")


def main() -> int:
    """Run both and print; 1 when govsec misses its budget."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    if shutil.which("lynis") is None:
        print("lynis is not installed; run: make servers")
        return 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = [_govsec(folder) for _ in range(rounds)]
        other = _lynis(folder)
        made = read_assessment(find_run(folder / "assessments", "latest"))
        lynis = _said_by_lynis(folder / "report.dat")
    seconds = statistics.median(one.seconds for one in own)
    govsec = _said_by_govsec(made)
    print(f"govsec: {seconds:.2f} s (median of {rounds}), {max(one.pss_bytes_peak for one in own) >> 20} MiB, ", end="")
    print(f"{len(made.results)} results, {made.coverage.decided} of {made.coverage.applicable} items decided")
    print(f"Lynis:  {other.seconds:.2f} s, {other.pss_bytes_peak >> 20} MiB, {len(lynis)} warnings and suggestions")
    verdict = "met" if seconds <= _BUDGET_S else "MISSED"
    print(f"budget: {_BUDGET_S} s, {verdict}; {other.seconds / seconds:.0f} times faster")
    for topic in _TOPICS:
        ours, theirs = _of(topic, 1, govsec), _of(topic, 0, lynis)
        if ours and not theirs:
            _print(f"only govsec, {topic}:", ours)
        elif theirs and not ours:
            _print(f"only Lynis, {topic}:", theirs)
        elif ours or theirs:
            _print(f"both, {topic}: govsec {len(ours)}, Lynis {len(theirs)}", [*ours, *theirs])
    known = re.compile("|".join(lynis_names for lynis_names, _ in _TOPICS.values()))
    _print("Lynis, elsewhere:", [f"{name}: {words}" for name, words in sorted(lynis.items()) if not known.search(name)])
    return 0 if seconds <= _BUDGET_S else 1


if __name__ == "__main__":
    sys.exit(main())
