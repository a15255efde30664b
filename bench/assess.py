"""govsec and Lynis side by side on this host: how long each takes, and what each found that the other did not.

    python -m bench.assess [rounds of govsec, default 3]

Lynis (Debian's, ``audit system --quick``) knows no requirement of GB/T 22239 and gives suggestions by test; govsec
gives verdicts by requirement. ``lynis.yaml`` says which of its tests and of our checks look at the same thing, and why
we do not ask what we do not ask; what stands in neither list is printed as such. Both run as this user; root sees more.

Lynis is ended after a while, with all its processes: its test FILE-6354 writes a line of log, with two processes each,
for every file below /tmp that was not read for three months, and where a hundred thousand of them lie that is no audit
but a quarter of an hour. That test alone is left out, in Lynis's favour.
"""

from __future__ import annotations

import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.measure import Measured, TooSlow, measure
from govsec.policy.results import Status
from govsec.policy.run import Assessment
from govsec.policy.runfolder import find_run, read_assessment

_BUDGET_S = 3.0
#: Nobody has seen Lynis take longer on a host like this one, that one test apart (55 s when it is quiet).
_LYNIS_S_MAX = 180
_LEFT_OUT = "FILE-6354"


@dataclass(frozen=True)
class Known:
    """What looks at what."""

    same: Mapping[str, list[str]]
    not_asked: Mapping[str, str]

    @classmethod
    def read(cls) -> Known:
        """The table beside this file."""
        value = yaml.safe_load(Path(__file__).with_name("lynis.yaml").read_text(encoding="utf-8"))
        return cls(value["same"], value["not_asked"])


def _govsec(state: Path) -> Measured:
    config = state / "govsec.yaml"
    config.write_text(f"state_dir: {state}\n", encoding="utf-8")
    argv = [sys.executable, "-m", "govsec.cli", "assess", "run", "--config", str(config), "--compare", "none", "-q"]
    return measure(argv, exit_codes=(0, 1))


def _lynis(folder: Path) -> Measured | None:
    """None when it did not end in time."""
    profile = folder / "bench.prf"
    profile.write_text(f"skip-test={_LEFT_OUT}\n", encoding="utf-8")
    argv = ["lynis", "audit", "system", "--quick", "--no-colors", "--profile", str(profile)]
    argv += ["--report-file", str(folder / "report.dat"), "--logfile", str(folder / "lynis.log")]
    try:
        return measure(argv, exit_codes=range(256), limit_s=_LYNIS_S_MAX)
    except TooSlow:
        return None


def _said_by_lynis(report: str) -> dict[str, list[str]]:
    """Warnings and suggestions by test."""
    found: dict[str, list[str]] = {}
    for match in re.finditer(r"^(?:warning|suggestion)\[\]=([A-Z0-9-]+)\|([^|\n]*)", report, re.MULTILINE):
        words = found.setdefault(match[1], [])
        if match[2] not in words:
            words.append(match[2])
    return found


def _said_by_govsec(made: Assessment) -> dict[str, Status]:
    """How each check ended on this host."""
    return {row.check: row.status for row in made.results}


def _ran(report: str) -> list[str]:
    """The tests that Lynis carried out; it tells them only when it ends."""
    match = re.search(r"^tests_executed=(.*)$", report, re.MULTILINE)
    return [] if match is None else [name for name in match[1].split("|") if name]


def _of_lynis(known: Known, lynis: Mapping[str, list[str]], ours: Mapping[str, Status]) -> Iterator[tuple[str, str]]:
    """Each complaint of Lynis with what govsec says of the same thing, under a heading."""
    bad = (Status.FAIL, Status.PARTIAL)
    for test, words in sorted(lynis.items()):
        line = f"{test}: {'; '.join(words)}"
        checks = [check for check in known.same.get(test, []) if check in ours]
        failed = [check for check in checks if ours[check] in bad]
        if failed:
            yield "both", f"{line}  =  {', '.join(failed)}"
        elif checks:
            yield "lynis", f"{line}  -  " + ", ".join(f"{check} {ours[check].value}" for check in checks)
        else:
            yield "lynis", f"{line}  -  {known.not_asked.get(test, 'not compared')}"


def _of_govsec(
    known: Known, lynis: Mapping[str, list[str]], made: Assessment, ran: list[str]
) -> Iterator[tuple[str, str]]:
    """Each failed check that no complaint of Lynis meets: its test was silent, or there is none."""
    met = {check for test in lynis for check in known.same.get(test, [])}
    tests = {check: test for test, checks in known.same.items() for check in checks if test in ran}
    for check, status in sorted(_said_by_govsec(made).items()):
        if status in (Status.FAIL, Status.PARTIAL) and check not in met:
            title = made.checks[check].title.en
            if check in tests:
                yield "silent", f"{check}: not so: {title}  -  {tests[check]} said nothing"
            else:
                yield "govsec", f"{check}: not so: {title}"


def _print(title: str, lines: Iterable[str]) -> None:
    rows = list(lines)
    print(f"\n{title}: {len(rows)}")
    for row in rows:
        print(f"  {row}")


def _print_both(known: Known, report: str, made: Assessment) -> None:
    lynis = _said_by_lynis(report)
    said = [*_of_lynis(known, lynis, _said_by_govsec(made)), *_of_govsec(known, lynis, made, _ran(report))]
    for key, title in (
        ("both", "both"),
        ("lynis", "only Lynis (with what govsec says of it, or why it does not ask)"),
        ("silent", "only govsec, where Lynis looked too"),
        ("govsec", "only govsec, where Lynis has no test"),
    ):
        _print(title, [line for where, line in said if where == key])


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
        report = (folder / "report.dat").read_text(encoding="utf-8", errors="replace")
    seconds = statistics.median(one.seconds for one in own)
    print(f"govsec: {seconds:.2f} s (median of {rounds}), {max(one.pss_bytes_peak for one in own) >> 20} MiB, ", end="")
    print(f"{len(made.results)} results, {made.coverage.decided} of {made.coverage.applicable} items decided")
    verdict = "met" if seconds <= _BUDGET_S else "MISSED"
    print(f"budget: {_BUDGET_S} s, {verdict}")
    if other is None:
        print(f"Lynis:  did not end within {_LYNIS_S_MAX} s; what it said until then:")
    else:
        print(f"Lynis:  {other.seconds:.2f} s, {other.pss_bytes_peak >> 20} MiB, {len(_ran(report))} tests; ", end="")
        print(f"{other.seconds / seconds:.0f} times as long")
    _print_both(Known.read(), report, made)
    return 0 if seconds <= _BUDGET_S else 1


if __name__ == "__main__":
    sys.exit(main())
