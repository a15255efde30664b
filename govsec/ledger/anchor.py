"""Anchors: the head of a chain, signed, put where whoever can cut the chain cannot reach it.

The last entry of a chain is held by nothing behind it, so a tail can be cut off without a broken link. An anchor says
how long the chain was; it lies in every center, under object lock where there is one, and a single one that is left
anywhere shows the cut. It is a signed document (purpose ``evidence``) whose body is::

    {"anchored": time, "chain": key id, "digest": SHA-256 of that entry, "number": 1…,
     "schema": "govsec.ledger.anchor.v1"}

at ``govsec/anchors/<chain>/<number:012d>``. Only the newest that is authentic counts; older ones are never needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from govsec import canonical
from govsec.clock import format_time
from govsec.config import explain
from govsec.crypto.document import open_document, sign_document
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import FormatError, IntegrityError, LimitError, ObjectExistsError, ObjectNotFoundError
from govsec.ledger.entry import NUMBER_MAX, Head
from govsec.records import Moment
from govsec.store.api import ObjectStore, ReadStore

PREFIX = "govsec/anchors/"
SCHEMA = "govsec.ledger.anchor.v1"
ANCHOR_SIZE_MAX = 4096
_NAME = re.compile(r"govsec/anchors/([A-Za-z0-9_][A-Za-z0-9_=-]{0,127})/([0-9]{12})")
_ANCHORS_MAX = 1_000_000
#: Whoever may write can put nonsense under higher numbers; each is told, and so many are looked behind.
_TRIES_MAX = 100


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["govsec.ledger.anchor.v1"] = Field(alias="schema")
    chain: str
    number: int = Field(ge=1, le=NUMBER_MAX)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    anchored: Moment


def anchor_name(head: Head) -> str:
    """Where the anchor of a head lies."""
    return f"{PREFIX}{head.chain}/{head.number:012d}"


def put_anchor(store: ObjectStore, signer: Signer, head: Head, now: datetime) -> str:
    """Anchor a head at a center; gives the object's name. One that is there already is left as it is.

    Raises:
        StoreError: the center could not put it.
        IntegrityError: the center has an authentic anchor of that number for another entry: the chain was forked.
    """
    body = {
        "schema": SCHEMA, "chain": head.chain, "number": head.number, "digest": head.digest,
        "anchored": format_time(now),
    }  # fmt: skip
    name = anchor_name(head)
    try:
        store.put(name, sign_document(signer, body), if_absent=True)
    except ObjectExistsError as error:
        there = decode_anchor(TrustedKeys([signer.public()]), store.get(name, size_max=ANCHOR_SIZE_MAX))
        if there != head:
            raise IntegrityError(f"{store.name}: {name} anchors digest {there.digest}, not {head.digest}") from error
    return name


def decode_anchor(trusted: TrustedKeys, data: bytes) -> Head:
    """The head in ``data``, when the pinned key of its own chain signed it.

    Raises:
        IntegrityError: not signed by that key. FormatError: signed, but no anchor.
    """
    raw = open_document(trusted, Purpose.EVIDENCE, data, size_max=ANCHOR_SIZE_MAX)
    try:
        body = _Body.model_validate(raw)
    except ValidationError as error:
        raise FormatError(f"ledger anchor: {explain(error)}") from error
    envelope = canonical.loads(data)
    assert isinstance(envelope, dict)  # open_document has taken it apart already
    if envelope["key"] != body.chain:
        raise IntegrityError(f"ledger anchor of chain {body.chain} is signed by another key")
    return Head(body.chain, body.number, body.digest)


def newest_anchors(store: ReadStore, trusted: TrustedKeys) -> Iterator[Head | IntegrityError]:
    """The newest authentic anchor of each chain at a center; what is none is given as the error that it is.

    Raises:
        StoreError: the center cannot be read. LimitError: more names than a ledger of ours has.
    """
    numbers: dict[str, list[int]] = {}
    for count, info in enumerate(store.list(PREFIX)):
        if count >= _ANCHORS_MAX:
            raise LimitError(f"{store.name}: more than {_ANCHORS_MAX} objects under {PREFIX}")
        match = _NAME.fullmatch(info.name)
        if match is None:
            yield FormatError(f"{info.name}: is no anchor's name")
        else:
            numbers.setdefault(match[1], []).append(int(match[2]))
    for chain, held in sorted(numbers.items()):
        for number in sorted(held, reverse=True)[:_TRIES_MAX]:
            name = f"{PREFIX}{chain}/{number:012d}"
            try:
                head = decode_anchor(trusted, store.get(name, size_max=ANCHOR_SIZE_MAX))
            except ObjectNotFoundError:
                continue
            except IntegrityError as error:
                yield IntegrityError(f"{name}: {error}")
                continue
            if (head.chain, head.number) == (chain, number):
                yield head
                break
            yield IntegrityError(f"{name}: holds the anchor of entry {head.number} of chain {head.chain}")


def replicate_anchors(source: ReadStore, target: ObjectStore, trusted: TrustedKeys) -> tuple[str, ...]:
    """Bring to ``target`` the newest authentic anchor of each chain that it lacks; gives their names.

    Raises:
        StoreError: as either center reports it.
    """
    copied = []
    for head in newest_anchors(source, trusted):
        if isinstance(head, IntegrityError):
            continue
        name = anchor_name(head)
        data = source.get(name, size_max=ANCHOR_SIZE_MAX)
        decode_anchor(trusted, data)
        try:
            target.put(name, data, if_absent=True)
        except ObjectExistsError:
            continue
        copied.append(name)
    return tuple(copied)
