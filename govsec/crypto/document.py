"""Signed documents: a JSON body, who signed it, for what.

::

    {"body": {…}, "key": key id, "purpose": purpose, "signature": base64}      canonical JSON (RFC 8785)

Signed is the canonical form of ``body``. A document is read only in its canonical form, so there is one sequence of
bytes for one statement, and its digest can be chained.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from govsec import canonical
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import FormatError, LimitError

#: Largest document that is read, unless the caller says otherwise.
DOCUMENT_SIZE_MAX = 64 << 20
#: How every document begins.
_BODY = b'{"body":'


def sign_document(signer: Signer, body: Mapping[str, object]) -> bytes:
    """The bytes of the signed document. Raises ``ValueError`` when ``body`` has no canonical form."""
    signature = signer.sign(canonical.dumps(body))
    return canonical.dumps(
        {
            "body": body,
            "key": signer.key_id,
            "purpose": signer.purpose.value,
            "signature": b64encode(signature).decode("ascii"),
        }
    )


def open_document(
    trusted: TrustedKeys, purpose: Purpose, data: bytes, *, size_max: int = DOCUMENT_SIZE_MAX
) -> dict[str, Any]:
    """The body of a document, after its signature was verified against ``trusted``.

    Raises:
        LimitError: longer than ``size_max``.
        FormatError: not a document in canonical form.
        IntegrityError: signed for another purpose, by an unknown key, or altered.
    """
    if len(data) > size_max:
        raise LimitError(f"signed document: {len(data)} bytes, more than {size_max}")
    try:
        value = canonical.loads(data)
    except ValueError as error:
        raise FormatError(f"signed document: {error}") from error
    if not isinstance(value, dict) or set(value) != {"body", "key", "purpose", "signature"}:
        raise FormatError("signed document: expected body, key, purpose and signature")
    body, key, found, signature = value["body"], value["key"], value["purpose"], value["signature"]
    if not isinstance(body, dict) or not isinstance(key, str) or not isinstance(signature, str):
        raise FormatError("signed document: a field has the wrong type")
    if found != purpose.value:
        raise FormatError(f"signed document: made for {str(found)[:40]!r}, where {purpose.value!r} is expected")
    try:
        raw = b64decode(signature, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError("signed document: the signature is not base64") from error
    if b64encode(raw).decode("ascii") != signature:
        # The last digit has bits that decoding ignores; accepting them would give one statement several digests.
        raise FormatError("signed document: the signature is not in canonical base64")
    # The document is canonical to the byte and "body" is its first key, so what was signed stands in it as it was; in
    # place of the comma before "key" the rest has a brace.
    rest = canonical.dumps({"key": key, "purpose": found, "signature": signature})
    trusted.verify(purpose, key, data[len(_BODY) : -len(rest)], raw)
    return body
