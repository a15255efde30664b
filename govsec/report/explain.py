"""A packet that scapy took apart, in words: what it does, layer by layer, and its bytes.

Everything that came from the network goes through :func:`~govsec.report.catalog.plain`; what scapy calls fields and
values stays as it writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from govsec.report.catalog import Catalogue, Lang, plain

_ROW = 16
_NAME_WIDTH = 18
Layers = Sequence[tuple[str, Sequence[tuple[str, str]]]]
Notes = Sequence[tuple[str, Mapping[str, str]]]


def packet_words(
    *,
    number: int,
    time: str,
    wire_size: int,
    data: bytes,
    layers: Layers,
    notes: Notes,
    lang: Lang,
    bytes_max: int = 256,
) -> str:
    """One packet for a person; no layers: it could not be read. At most ``bytes_max`` bytes of it are shown."""
    words = Catalogue("explain", lang)
    lines = [words.text("packet", {"number": number, "time": time, "size_bytes": wire_size})]
    lines += [f"  {note_words(code, values, words)}" for code, values in notes]
    if not layers:
        lines.append(f"  {words.text('unreadable')}")
    for name, fields in layers:
        lines.append(f"  {plain(name)}")
        lines += [f"    {plain(field):<{_NAME_WIDTH}} {plain(value)}" for field, value in fields]
    lines.append(f"  {words.text('payload')}")
    lines += [f"    {row}" for row in dump(data[:bytes_max])]
    if len(data) > bytes_max:
        lines.append(f"    {words.text('more', {'count': len(data) - bytes_max})}")
    return "\n".join(lines)


def note_words(code: str, values: Mapping[str, str], words: Catalogue) -> str:
    """What the packet does, in a sentence; the values are hostile text."""
    key = f"note.{code}"
    if not words.has(key):
        return words.text("unknown", {"code": plain(code)})
    return words.text(key, {name: plain(value) for name, value in values.items()})


def dump(data: bytes) -> list[str]:
    """Offset, sixteen bytes, and those of them that are printable ASCII."""
    rows = []
    for start in range(0, len(data), _ROW):
        row = data[start : start + _ROW]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        rows.append(f"{start:04x}  {row.hex(' '):<{3 * _ROW - 1}}  {text}")
    return rows
