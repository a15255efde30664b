"""What the office formats have in common: the optional libraries, one time for every part, text that XML can hold.

A workbook or a document is a ZIP of XML parts, and the libraries write the hour of the machine into both.
:func:`settle` packs the parts again with the time of the record, so that the same record gives the same bytes (with the
same versions of the libraries and of zlib).
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from govsec.errors import ConfigurationError
from govsec.report.catalog import plain

#: ZIP counts years from 1980 (APPNOTE 4.4.6).
_ZIP_YEAR_MIN = 1980
_CORE = "docProps/core.xml"
#: What a spreadsheet would read as an escaped character (ECMA-376 part 1, 22.9.2.19, ST_Xstring).
_ESCAPE_LIKE = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")


@contextmanager
def office_extra() -> Iterator[None]:
    """Around the imports of the extra ``office``, which are made when a format is asked for.

    Raises:
        ConfigurationError: a library is not installed; the message says how to get it.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigurationError(
            f"{error.name or error} is not installed; this format needs the extra: pip install 'govsec[office]'"
        ) from error


def xml_text(text: str, chars_max: int) -> str:
    """``text`` with nothing in it that XML forbids or that steers the reader, in at most ``chars_max`` characters."""
    shown = _ESCAPE_LIKE.sub("_x005F_", plain(text))
    return shown if len(shown) <= chars_max else shown[: chars_max - 1] + "…"


def settle(data: bytes, moment: datetime) -> bytes:
    """The parts of the ZIP ``data`` packed again, every part dated ``moment``, the document's own dates too."""
    at = moment.astimezone(UTC)
    stamp = (max(at.year, _ZIP_YEAR_MIN), at.month, at.day, at.hour, at.minute, at.second)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            part = source.read(name)
            if name == _CORE:
                part = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", f"{at:%Y-%m-%dT%H:%M:%SZ}".encode(), part)
            info = zipfile.ZipInfo(name, stamp)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o600 << 16
            info.create_system = 3
            target.writestr(info, part)
    return out.getvalue()
