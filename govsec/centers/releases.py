"""What a center let go, said and signed by that center, so that nobody can put it back or take more.

``govsec/released/<sha256>`` is a signed document of purpose ``release``::

    format      1
    repository  as in commits
    center      the name of the center that lets go
    time        when it was marked; removal follows after the grace
    through     the number of the commit up to which releases were considered
    names       a set of names as in commits (lists under govsec/objects/)

The key is the center's own. Production, which may write into the same-city store, cannot sign a release there, and a
release copied from another center names the wrong one.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from govsec.centers import names
from govsec.centers.commits import COMMIT_SIZE_MAX, Digest, NameSet, iterate_names, parse_body
from govsec.crypto.document import open_document, sign_document
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import IntegrityError, ObjectNotFoundError
from govsec.records import Moment
from govsec.store.api import ReadStore

log = logging.getLogger(__name__)


class Release(BaseModel):
    """One decision of a center to let objects go."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1] = 1
    repository: Digest
    center: str = Field(min_length=1, max_length=100)
    time: Moment
    through: int = Field(ge=1)
    names: NameSet


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """A release whose signature, digest and center were verified."""

    name: str
    release: Release


def sign_release(signer: Signer, release: Release) -> tuple[str, bytes]:
    """The name and the bytes of the record."""
    data = sign_document(signer, release.model_dump(mode="json"))
    return names.RELEASED + hashlib.sha256(data).hexdigest(), data


def read_releases(store: ReadStore, trusted: TrustedKeys, repository: str) -> Iterator[ReleaseRecord]:
    """The genuine releases of this center; what is not genuine is logged and has no effect."""
    for info in store.list(names.RELEASED):
        try:
            data = store.get(info.name, size_max=COMMIT_SIZE_MAX)
            if names.RELEASED + hashlib.sha256(data).hexdigest() != info.name:
                raise IntegrityError(f"{info.name}: the bytes are not what the name says")
            body = open_document(trusted, Purpose.RELEASE, data, size_max=COMMIT_SIZE_MAX)
            release = parse_body(Release, info.name, body)
        except (IntegrityError, ObjectNotFoundError) as error:
            log.warning("not a release", extra={"center": store.name, "object": info.name, "error": str(error)})
            continue
        if release.repository == repository and release.center == store.name:
            yield ReleaseRecord(info.name, release)


def released_here(store: ReadStore, trusted: TrustedKeys, repository: str) -> frozenset[str]:
    """Every name that this center let go or is about to."""
    return frozenset(
        name
        for record in read_releases(store, trusted, repository)
        for name, _ in iterate_names(store, record.release.names)
    )
