"""Who vouches for a file that was carried here: a signature beside it, by a person's pinned key.

::

    FACTS.json.sig      a signed document (govsec.crypto.document), purpose "attestation", with the body
                        {"by", "name", "schema": "govsec.carried.v1", "sha256", "time"}

It says that this person handed in these very bytes as what the host gave; not that the host told the truth. It is made
with a key for attestations, which is what it is: a person's word for what was seen. Optional, and told either way; a
signature that is there and does not hold is never passed over.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime
from pathlib import Path

from govsec.assemble.systems import Site
from govsec.clock import format_time
from govsec.crypto.document import open_document, sign_document
from govsec.crypto.signing import Purpose, Signer
from govsec.errors import ConfigurationError, GovsecError, IntegrityError
from govsec.localfile import read_bounded
from govsec.privatefile import write_private

SCHEMA = "govsec.carried.v1"
_SUFFIX = ".sig"
_SIGNATURE_SIZE_MAX = 64 << 10


def signature_path(path: Path) -> Path:
    """Where the signature of ``path`` lies."""
    return path.with_name(path.name + _SUFFIX)


def sign_carried(path: Path, data: bytes, key_file: Path, *, by: str, time: datetime) -> Path:
    """Sign the bytes of a file as ``by``; the new file beside it.

    Raises:
        ConfigurationError: the key is none for attestations, or the signature cannot be written.
    """
    body = {
        "by": by,
        "name": path.name,
        "schema": SCHEMA,
        "sha256": hashlib.sha256(data).hexdigest(),
        "time": format_time(time),
    }
    place = signature_path(path)
    try:
        write_private(place, sign_document(Signer.load(key_file, Purpose.ATTESTATION), body))
    except OSError as error:
        raise ConfigurationError(f"{place}: {error.strerror}") from error
    return place


def signer_of(site: Site, path: Path, data: bytes) -> str:
    """The name that the signer's key is pinned under; empty where nobody signed the file.

    Raises:
        IntegrityError: the signature is not one of these bytes by a pinned key.
        ConfigurationError: there is a signature, and this site pins no keys, or it cannot be read.
    """
    place = signature_path(path)
    try:
        document = read_bounded(place, _SIGNATURE_SIZE_MAX)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ConfigurationError(f"{place}: {error.strerror}") from error
    trusted = site.trusted()
    try:
        body = open_document(trusted, Purpose.ATTESTATION, document, size_max=_SIGNATURE_SIZE_MAX)
        name = trusted.get(Purpose.ATTESTATION, json.loads(document)["key"]).name
    except GovsecError as error:
        raise IntegrityError(f"{place}: {error}") from error
    digest = hashlib.sha256(data).hexdigest()
    if body.get("schema") != SCHEMA or not hmac.compare_digest(str(body.get("sha256")), digest):
        raise IntegrityError(f"{place}: is no signature of {path.name} as it is now")
    if not name or body.get("by") != name:
        raise IntegrityError(f"{place}: signed as {str(body.get('by'))[:80]!r} with the key of {name!r}")
    return name
