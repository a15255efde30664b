"""First backup, unchanged, 1 % changed, restore, full check: govsec beside Debian's restic and borg.

    python -m bench.backup [--scale 1.0] [--rounds 3] [--work DIR]

Rounds alternate between the programs, so that what else the machine does hits all of them; every repository and every
restore goes to a fresh directory, and directories are removed only at the end (removing before writing slows ext4 down
for minutes). Medians and ratios are printed; with few rounds differences below a tenth mean nothing. Memory is sampled
in the last round only, because looking costs time.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import govsec
from bench.measure import measure, median, size_of
from bench.trees import change_tree, make_tree, tree_size

_PASSWORD = "vK7 quilt Ostrava 93 lantern"
STEPS = ("first", "unchanged", "changed", "restore", "check")
#: Budgets: against restic, and for the first backup against either.
BUDGETS = {"first": 0.7, "unchanged": 0.35, "changed": 0.5, "restore": 0.6, "check": 0.6}
SIZE_BUDGET, PSS_BUDGET = 1.03, 350 << 20


@dataclass
class Bench:
    """The directories of one benchmark."""

    work: Path
    tree: Path
    password_file: Path

    def govsec(self, step: str, repo: Path, out: Path) -> list[list[str]]:
        """The command lines of a step."""
        own = [str(Path(sys.executable).with_name("govsec"))]
        where = ["--repo", str(repo), "--password-file", str(self.password_file), "--quiet"]
        if step == "restore":
            return [[*own, "backup", "restore", "latest", "--target", str(out), *where]]
        if step == "check":
            return [[sys.executable, "-m", "bench.check", str(repo), str(self.password_file)]]
        create = ["--create"] if step == "first" else []
        return [[*own, "backup", "run", *where, *create, str(self.tree)]]

    def restic(self, step: str, repo: Path, out: Path) -> list[list[str]]:
        """The command lines of a step; making the repository is not part of the first."""
        own = ["restic", "-r", str(repo), "--password-file", str(self.password_file), "--no-cache", "-q"]
        if step == "restore":
            return [[*own, "restore", "latest", "--target", str(out)]]
        if step == "check":
            return [[*own, "check", "--read-data"]]
        return [[*own, "backup", str(self.tree)]]

    def borg(self, step: str, repo: Path, out: Path) -> list[list[str]]:
        """The command lines of a step."""
        if step == "restore":
            out.mkdir()
            return [["borg", "extract", f"{repo}::first"]]
        if step == "check":
            return [["borg", "check", "--verify-data", str(repo)]]
        return [["borg", "create", "--compression", "zstd,3", f"{repo}::{step}", str(self.tree)]]


def prepare(bench: Bench, program: str, repo: Path) -> None:
    """Make an empty repository; not measured."""
    environment = {**os.environ, **_environment(bench)}
    if program == "restic":
        argv = ["restic", "-r", str(repo), "--password-file", str(bench.password_file), "-q", "init"]
    elif program == "borg":
        argv = ["borg", "init", "--encryption", "repokey", str(repo)]
    else:
        argv = [sys.executable, "-m", "bench.check", "--init", str(repo), str(bench.password_file)]
    subprocess.run(argv, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run(scale: float, rounds: int, work: Path, programs: Sequence[str]) -> dict[str, object]:
    """All rounds; the results as plain values."""
    bench = Bench(work, work / "tree", work / "password")
    bench.password_file.write_text(_PASSWORD + "\n")
    bench.password_file.chmod(0o600)
    # As installing a package does; sources that were just edited would be compiled anew by every command.
    compileall.compile_dir(str(Path(govsec.__file__).parent), quiet=1)
    made = tree_size(bench.tree) if bench.tree.is_dir() else make_tree(bench.tree, scale=scale)
    print(f"tree: {made.files} files, {made.directories} directories, {made.size_bytes / 1e9:.2f} GB", flush=True)
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    processor: dict[tuple[str, str], list[float]] = defaultdict(list)
    memory: dict[tuple[str, str], int] = {}
    sizes: dict[str, list[int]] = defaultdict(list)
    repos: dict[tuple[str, int], Path] = {}
    for step in STEPS:
        for number in range(rounds):
            if step == "changed":
                change_tree(bench.tree, share=0.01, seed=number)
            for program in programs:
                repo = repos.setdefault((program, number), work / f"{program}-{number}")
                if step == "first":
                    prepare(bench, program, repo)
                out = work / f"{program}-{number}-{step}"
                runs = [
                    measure(
                        argv,
                        environment=_environment(bench),
                        cwd=out if program == "borg" and step == "restore" else None,
                        is_sampled=number == rounds - 1,
                    )
                    for argv in getattr(bench, program)(step, repo, out)
                ]
                seconds[program, step].append(sum(part.seconds for part in runs))
                processor[program, step].append(sum(part.processor_s for part in runs))
                memory[program, step] = max(part.pss_bytes_peak for part in runs)
                if step == "first":
                    sizes[program].append(size_of(repo))
                wall, busy = seconds[program, step][-1], processor[program, step][-1]
                print(f"{step:10} {program:7} round {number + 1}: {wall:7.2f} s, processor {busy:7.2f} s", flush=True)
    return {
        "tree": {"files": made.files, "directories": made.directories, "bytes": made.size_bytes},
        "seconds": {f"{program} {step}": values for (program, step), values in seconds.items()},
        "processor_s": {f"{program} {step}": values for (program, step), values in processor.items()},
        "pss_bytes": {f"{program} {step}": value for (program, step), value in memory.items()},
        "sizes": dict(sizes),
    }


def print_table(results: dict[str, object], programs: Sequence[str]) -> bool:
    """Medians, ratios and budgets; True when every budget is met."""
    seconds, memory, sizes = results["seconds"], results["pss_bytes"], results["sizes"]
    assert isinstance(seconds, dict) and isinstance(memory, dict) and isinstance(sizes, dict)  # run() makes them
    is_met = True
    others = [program for program in programs if program != "govsec"]
    print(f"\n{'':10} {'govsec':>9}" + "".join(f" {other:>9} {'ratio':>6}" for other in others) + "   budget")
    for step in STEPS:
        own = median(seconds[f"govsec {step}"])
        line = f"{step:10} {own:8.2f}s"
        for other in others:
            theirs = median(seconds[f"{other} {step}"])
            line += f" {theirs:8.2f}s {own / theirs:6.2f}"
            if other == "restic" or step == "first":
                is_met &= own / theirs <= BUDGETS[step]
        busy = results["processor_s"]
        assert isinstance(busy, dict)  # run() makes it
        ratios = [median(busy[f"govsec {step}"]) / median(busy[f"{other} {step}"]) for other in others]
        print(f"{line}   {BUDGETS[step]:.2f}   processor " + " ".join(f"{ratio:.2f}" for ratio in ratios))
    own_size = median(sizes["govsec"])
    print(
        f"{'size':10} {own_size / 1e6:7.0f}MB"
        + "".join(f" {median(sizes[other]) / 1e6:7.0f}MB {own_size / median(sizes[other]):6.3f}" for other in others)
        + f"   {SIZE_BUDGET}"
    )
    for step in STEPS:
        line = f"PSS {step:6} {memory[f'govsec {step}'] / 2**20:6.0f}MiB"
        print(
            line
            + "".join(f" {memory[f'{other} {step}'] / 2**20:6.0f}MiB       " for other in others)
            + f"   {PSS_BUDGET >> 20}"
        )
        is_met &= memory[f"govsec {step}"] <= PSS_BUDGET
    if "restic" in others:
        is_met &= own_size / median(sizes["restic"]) <= SIZE_BUDGET
    print("budgets met" if is_met else "budgets MISSED")
    return is_met


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="where trees and repositories go (default: the temporary directory)")
    parser.add_argument("--programs", default="restic,govsec,borg")
    parser.add_argument("--tree", type=Path, help="a tree of an earlier run to use up, instead of making one")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    programs = [name for name in args.programs.split(",") if name == "govsec" or shutil.which(name)]
    work = Path(tempfile.mkdtemp(prefix="govsec-bench-", dir=args.work))
    if args.tree is not None:
        args.tree.rename(work / "tree")
    try:
        results = run(args.scale, args.rounds, work, programs)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1))
    return 0 if print_table(results, programs) else 1


def _environment(bench: Bench) -> dict[str, str]:
    return {
        "BORG_PASSPHRASE": _PASSWORD,
        "BORG_BASE_DIR": str(bench.work / "borg-base"),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    }


if __name__ == "__main__":
    sys.exit(main())
