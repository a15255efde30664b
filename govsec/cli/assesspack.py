"""``govsec assess pack``: list packs, look one over, prove its fixtures, sign it, verify a signature."""

from __future__ import annotations

import argparse
from pathlib import Path

from govsec.cli import frame, texts
from govsec.cli.assessrun import site_of
from govsec.cli.assesswords import heads, lang_of, words_of


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verb ``pack`` with verbs of its own."""
    pack = frame.add_verb(verbs, "pack", run_list, "packs of checks: list, lint, sign, verify")
    own = frame.verbs_of(pack, dest="pack_verb")
    frame.add_verb(
        own,
        "list",
        run_list,
        "the packs that a run of this site uses, with who vouches for each",
        examples=["govsec assess pack list --json"],
    )
    lint = frame.add_verb(
        own,
        "lint",
        run_lint,
        "read a pack as a run would, then run every fixture and bend its facts; 1 when something is wrong",
        examples=["govsec assess pack lint ./our-pack"],
    )
    sign = frame.add_verb(
        own,
        "sign",
        run_sign,
        "sign a pack; it is read as a run would read it first",
        examples=["govsec assess pack sign ./our-pack --key pack.key"],
    )
    sign.add_argument("--key", type=Path, required=True, metavar="FILE", help="a key of `govsec assess key --for pack`")
    verify = frame.add_verb(
        own,
        "verify",
        run_verify,
        "is this pack signed by a pinned key, and unchanged since? 3 when it is not signed, 6 when it was altered",
        examples=["govsec assess pack verify ./our-pack --roots roots.yaml"],
    )
    verify.add_argument("--roots", type=Path, metavar="FILE", help="pinned public keys (default: the configuration's)")
    for verb in (lint, sign, verify):
        verb.add_argument("folder", type=Path, help="the pack's folder")


def run_list(args: argparse.Namespace, io: frame.IO) -> int:
    """List packs."""
    from govsec.assemble.packs import load_packs
    from govsec.policy.expressions import Expressions

    with Expressions(io.clock) as expressions:
        packs = load_packs(site_of(io), expressions)
    lang = lang_of(io)
    rows = [
        [pack.id, pack.head.version, len(pack.checks), pack.trust, getattr(pack.head.title, lang)] for pack in packs
    ]
    keys = ["id", "version", "checks", "trust", "title"]
    values = [
        dict(zip(keys, row, strict=True)) | {"sha256": pack.sha256} for row, pack in zip(rows, packs, strict=True)
    ]
    io.result({"packs": values}, lambda: texts.table(heads(words_of(io), "pack", *keys[1:]), rows))
    return 0


def run_lint(args: argparse.Namespace, io: frame.IO) -> int:
    """Read a pack and prove its checks."""
    from govsec.assemble.packs import known_names
    from govsec.policy.expressions import Expressions
    from govsec.policy.packfiles import read_folder
    from govsec.policy.packload import DRAFT, read_pack
    from govsec.policy.packtest import prove

    files = read_folder(args.folder)
    with Expressions(io.clock) as expressions:
        pack = read_pack(files, DRAFT, known_names(), expressions)
        proofs = prove(pack, files, expressions)
    problems = [problem for proof in proofs for problem in proof.problems]
    facts = {
        "pack": pack.id,
        "version": pack.head.version,
        "checks": len(pack.checks),
        "fixtures": sum(proof.fixtures_count for proof in proofs),
        "mutations": sum(proof.mutations_count for proof in proofs),
        "problems": problems,
    }
    summary = f"{pack.id} {pack.head.version}: {len(pack.checks)} checks, {facts['fixtures']} fixtures, "
    io.result(
        facts, lambda: "\n".join([*problems, f"{summary}{facts['mutations']} bent facts, {len(problems)} problems"])
    )
    return 1 if problems else 0


def run_sign(args: argparse.Namespace, io: frame.IO) -> int:
    """Sign a pack."""
    from govsec.assemble.packs import known_names
    from govsec.crypto.signing import Purpose, Signer
    from govsec.errors import ConfigurationError
    from govsec.policy.expressions import Expressions
    from govsec.policy.packfiles import SIGNATURE, read_folder, sign
    from govsec.policy.packload import DRAFT, read_pack
    from govsec.privatefile import write_private

    files = read_folder(args.folder)
    with Expressions(io.clock) as expressions:
        pack = read_pack(files, DRAFT, known_names(), expressions)
    signer = Signer.load(args.key, Purpose.PACK)
    path = args.folder / SIGNATURE
    try:
        write_private(path, sign(files, signer, pack=pack.id, version=pack.head.version))
        path.chmod(0o644)  # signed, not secret
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    io.result({"pack": pack.id, "sha256": files.sha256, "key": signer.key_id, "file": str(path)}, str(path))
    return 0


def run_verify(args: argparse.Namespace, io: frame.IO) -> int:
    """Verify a signature."""
    from govsec.crypto.signing import TrustedKeys
    from govsec.policy.packfiles import read_folder, verify

    trusted = TrustedKeys.load(args.roots) if args.roots is not None else site_of(io).trusted()
    files = read_folder(args.folder)
    key = verify(files, trusted)
    io.result({"folder": str(args.folder), "key": key, "sha256": files.sha256}, f"signed by {key}, {files.sha256}")
    return 0
