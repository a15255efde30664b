"""The certificates that lie in a machine's folders: what they name and when they end. Nothing is verified.

One idea: a server's own certificates are wanted, not the hundreds of authorities that every system trusts. So links
into the stores of the distribution are not followed, and a file with many authorities and nothing else is a bundle,
counted and left out. A private key in the same file is never looked at: only the blocks of certificates are taken.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from govsec.crypto.certificates import CertificateFacts, pem_blocks, read_certificate
from govsec.errors import FormatError, GovsecError
from govsec.host.tables import CertificateFile, TableName
from govsec.host.tree import Gaps, Tree

ROWS_MAX = 20_000
_FILES_MAX = 20_000
_ENTRIES_MAX = 200_000
_DEPTH_MAX = 8
_FILE_BYTES_MAX = 2 << 20
_SUFFIXES = (".pem", ".crt", ".cer", ".cert", ".der")
#: A server's chain has two or three authorities; a bundle has more than this.
_BUNDLE_MIN = 10
_TRUST_STORES = ("/usr/share/", "/etc/pki/ca-trust/", "/usr/local/share/ca-certificates/", "/var/lib/ca-certificates/")


def read_certificate_files(
    tree: Tree, gaps: Gaps, folders: Sequence[str], pause: Callable[[], None]
) -> tuple[CertificateFile, ...]:
    """The certificates below ``folders``, by path; each file once, by the path that it was first found at.

    Raises:
        FormatError: none of the folders is there.
    """
    rows: list[CertificateFile] = []
    there = [place for place in (_folder(tree, folder) for folder in folders) if place is not None]
    if not there:
        raise FormatError("none of the folders of certificates is there")
    for path in _files(tree, gaps, there, pause):
        found = _certificates(tree, gaps, path)
        if len(found) >= _BUNDLE_MIN and all(facts.is_authority for facts in found):
            gaps.add(TableName.CERTIFICATES, "bundle of authorities, not listed")
            continue
        for position, facts in enumerate(found):
            if len(rows) >= ROWS_MAX:
                gaps.add(TableName.CERTIFICATES, f"more than {ROWS_MAX} certificates")
                continue
            rows.append(_row(path, position, facts))
    return tuple(sorted(rows, key=lambda row: (row.path, row.position)))


def _row(path: str, position: int, facts: CertificateFacts) -> CertificateFile:
    return CertificateFile(
        path=path,
        position=position,
        subject=facts.subject,
        issuer=facts.issuer,
        serial=facts.serial,
        not_before=facts.not_before,
        not_after=facts.not_after,
        names=facts.names,
        key=facts.key,
        is_authority=facts.is_authority,
        sha256=facts.sha256,
    )


def _folder(tree: Tree, path: str) -> str | None:
    """Where the folder really lies; a link could lead the search to a server that does not answer."""
    try:
        place = tree.resolve(path)
        return place if Path(tree.place(place)).is_dir() else None
    except OSError:
        return None


def _files(tree: Tree, gaps: Gaps, folders: Sequence[str], pause: Callable[[], None]) -> Iterator[str]:
    """Paths of files that bear the names of certificates; not over mounts that may hang, and each file once."""
    pending = [(folder.rstrip("/"), 0) for folder in reversed(folders)]
    seen: set[tuple[int, int]] = set()
    entries_left, files_left = _ENTRIES_MAX, _FILES_MAX
    while pending:
        folder, depth = pending.pop()
        pause()
        try:
            names = tree.names(folder)
        except (OSError, GovsecError):
            gaps.add(TableName.CERTIFICATES, "folder that cannot be read")
            continue
        entries_left -= len(names)
        if entries_left < 0 or files_left <= 0:
            gaps.add(TableName.CERTIFICATES, "folder after too many", len(pending) + 1)
            return
        for name in names:
            path = f"{folder}/{name}"
            try:
                status = os.lstat(tree.place(path))
                if stat.S_ISDIR(status.st_mode):
                    if depth < _DEPTH_MAX:
                        pending.append((path, depth + 1))
                    else:
                        gaps.add(TableName.CERTIFICATES, "folder that lies too deep")
                    continue
                if not name.lower().endswith(_SUFFIXES):
                    continue
                target = tree.resolve(path)
                if target != path:
                    if target.startswith(_TRUST_STORES):
                        continue
                    status = os.lstat(tree.place(target))
            except OSError:
                gaps.add(TableName.CERTIFICATES, "file that cannot be read")
                continue
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                files_left -= 1
                yield path


def _certificates(tree: Tree, gaps: Gaps, path: str) -> list[CertificateFacts]:
    try:
        data = tree.read(tree.resolve(path), _FILE_BYTES_MAX)
    except FileNotFoundError:
        return []
    except (OSError, GovsecError):
        gaps.add(TableName.CERTIFICATES, "file that cannot be read")
        return []
    blocks = pem_blocks(data.decode("ascii", "replace"))
    if not blocks and data[:1] == b"\x30":  # a sequence in DER
        text = base64.b64encode(data).decode("ascii")
        blocks = [f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----"]
    found = []
    for block in blocks:
        try:
            found.append(read_certificate(block))
        except FormatError:
            gaps.add(TableName.CERTIFICATES, "certificate that cannot be read")
    return found
