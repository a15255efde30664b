"""Three centers in one directory, with the library: back up, ship, lose two, drill, and sign what came of it.

    python examples/three_centers.py DIRECTORY

The directory gets ``source`` (made when it is not there), the three centers, and a scratch place for the drill. What is
left out for brevity: keys and passwords belong into files (``Signer.save``, ``govsec.yaml``), not into variables.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import govsec


def main(directory: Path) -> int:
    """Run the story; 0 when the drill passed."""
    clock = govsec.SystemClock()
    password = secrets.token_hex(16).encode()
    commits, evidence = (
        govsec.Signer.generate(purpose) for purpose in (govsec.Purpose.COMMIT, govsec.Purpose.EVIDENCE)
    )
    trusted = govsec.TrustedKeys([commits.public("production"), evidence.public("remote")])
    names = ("production", "same_city", "remote")
    production, same_city, remote = (govsec.LocalStore(directory / name, name=name, create=True) for name in names)
    source = directory / "source"
    if not source.exists():
        source.mkdir()
        (source / "合同.txt").write_text("a contract\n" * 1000, encoding="utf-8")

    # One repository, the same config and keys at every center.
    govsec.initialise(
        production, [same_city, remote], lambda store: govsec.WritableRepository.initialize(store, password, clock)
    )

    # Back up to production and same-city at once; the receipt says who holds everything.
    near = govsec.Near(
        production, same_city, govsec.Mode.MAXIMUM_PROTECTION,
        states=govsec.States(clock), signer=commits, trusted=trusted, clock=clock,
    )  # fmt: skip
    repository = govsec.WritableRepository.open(near, password)
    files = govsec.FileSource([source])
    seen = govsec.observe(files, clock=clock)
    result = govsec.archive(repository, files, clock=clock)
    witness = govsec.save_witness(near, repository.suite, seen.confirm(result.snapshot_id))
    snapshot = govsec.SnapshotRef(id=result.snapshot_id, time=result.snapshot.time)
    receipt = near.commit(govsec.Change([*result.objects, witness], snapshot, witness=witness.name.rpartition("/")[2]))
    print(f"commit {receipt.number}, held by {', '.join(receipt.held_by)}")

    # The remote side pulls; it needs no key for that.
    shipped = govsec.ship(same_city, remote, trusted, clock=clock)
    print(f"shipped {shipped.objects_count} objects")

    # Lose two centers and prove that the third has it all.
    plan = govsec.Plan.model_validate(
        {
            "name": "lose-the-city",
            "system": "office",
            "scenario": {"kind": "lose_production_and_same_city"},
            "expect": {"paths": [str(source)]},
            "steps": [
                {"name": "restore", "kind": "restore", "timeout_s": 600},
                {"name": "content", "kind": "probe", "timeout_s": 600, "probe": {"kind": "content"}},
                {"name": "nonce", "kind": "probe", "timeout_s": 60, "probe": {"kind": "nonce"}},
            ],
        }
    )
    centers = [
        govsec.DrillCenter(store.name, govsec.Role(store.name), store) for store in (production, same_city, remote)
    ]
    scratch = directory / "scratch"
    scratch.mkdir(mode=0o700, exist_ok=True)
    drill = govsec.run_drill(
        plan, centers, lambda store, others: govsec.Repository.open(store, password, fallbacks=others), scratch,
        desk=govsec.Desk("three_centers.py"), clock=clock,
    )  # fmt: skip
    entry = govsec.Ledger(remote, evidence, clock, trusted=trusted).append(drill.evidence())
    print(f"drill {drill.verdict.value}, ledger entry {entry.number}")
    near.close()
    return 0 if drill.verdict is govsec.Verdict.PASS else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
