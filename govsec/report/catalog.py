"""Words for people, in Chinese and English: one YAML file a report and language, the same keys in both.

Facts are put into the words by name. A fact whose name ends in a unit (``_s``, ``_bytes``) is written out for people
and loses the ending: ``measured_s=90`` fills ``{measured}`` with ``1 分 30 秒``.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Literal

from govsec.config import read_yaml
from govsec.errors import ConfigurationError

Lang = Literal["zh", "en"]
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_DURATION_WORDS: Mapping[Lang, tuple[str, str, str, str]] = {
    "zh": (" 天", " 小时", " 分", " 秒"),
    "en": (" d", " h", " min", " s"),
}
#: C0 and C1 controls, bidirectional marks and overrides, line separators: what makes text look like another text; and
#: the two code points that XML forbids besides (XML 1.0, 2.2).
_TRICKS = {
    code: f"\\u{code:04x}"
    for span in ((0x00, 0x09), (0x0B, 0x20), (0x7F, 0xA0), (0x200E, 0x2010), (0x2028, 0x202F), (0x2066, 0x206A))
    for code in range(*span)
} | {code: f"\\u{code:04x}" for code in (0x061C, 0xFFFE, 0xFFFF)}


class Catalogue:
    """The words of one report in one language."""

    def __init__(self, name: str, lang: Lang) -> None:
        self.lang = lang
        with importlib.resources.as_file(importlib.resources.files("govsec.report")) as room:
            value = read_yaml(room / "messages" / f"{name}.{lang}.yaml")
        self._texts: dict[str, str] = {}
        self._lists: dict[str, tuple[str, ...]] = {}
        self._read("", value)

    def keys(self) -> frozenset[str]:
        """Every key, dotted."""
        return frozenset(self._texts) | frozenset(self._lists)

    def has(self, key: str) -> bool:
        """True when there are words under ``key``."""
        return key in self._texts

    def text(self, key: str, facts: Mapping[str, object] | None = None) -> str:
        """The words under a dotted key with ``facts`` put in.

        Raises:
            ConfigurationError: the catalogue has no such key, or the words want a fact that is not there.
        """
        try:
            return self._texts[key].format_map({**self._written(facts or {})})
        except (KeyError, IndexError, ValueError) as error:
            raise ConfigurationError(f"message {key!r} ({self.lang}): missing, or a fact of it is: {error}") from error

    def lines(self, key: str) -> tuple[str, ...]:
        """The list of words under a key."""
        return self._lists[key]

    def duration(self, seconds: float) -> str:
        """``seconds`` for people: two units at most, fractions below ten seconds."""
        days, hours, minutes, second = _DURATION_WORDS[self.lang]
        if 0 < seconds < 0.005:
            return "<0.01" + second
        if seconds < 10:
            return f"{max(0.0, seconds):.2f}".rstrip("0").rstrip(".") + second
        whole = round(seconds)
        for size, unit, smaller_size, smaller in (
            (86400, days, 3600, hours),
            (3600, hours, 60, minutes),
            (60, minutes, 1, second),
        ):
            if whole >= size:
                rest = whole % size // smaller_size
                return f"{whole // size}{unit}" + (f" {rest}{smaller}" if rest else "")
        return f"{whole}{second}"

    def size(self, count_bytes: float) -> str:
        """``count_bytes`` for people."""
        value = float(count_bytes)
        for unit in _UNITS:
            if abs(value) < 1024 or unit == _UNITS[-1]:
                break
            value /= 1024
        return f"{value:.0f} {unit}" if unit == "B" or abs(value) >= 100 else f"{value:.1f} {unit}"

    @staticmethod
    def moment(moment: datetime, utc_offset_hours: int) -> str:
        """``moment`` on the clocks of that offset, to the second."""
        return f"{moment.astimezone(timezone(timedelta(hours=utc_offset_hours))):%Y-%m-%d %H:%M:%S}"

    def _written(self, facts: Mapping[str, object]) -> dict[str, object]:
        written: dict[str, object] = {}
        for name, value in facts.items():
            if isinstance(value, (int, float)) and name.endswith("_s"):
                written[name.removesuffix("_s")] = self.duration(value)
            elif isinstance(value, (int, float)) and name.endswith("_bytes"):
                written[name.removesuffix("_bytes")] = self.size(value)
            else:
                written[name] = value
        return written

    def _read(self, prefix: str, value: object) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                self._read(f"{prefix}.{key}" if prefix else str(key), item)
        elif isinstance(value, list):
            self._lists[prefix] = tuple(str(item) for item in value)
        else:
            self._texts[prefix] = str(value)


def plain(text: str) -> str:
    """``text`` with everything that could make it look like another text written as an escape."""
    return text.translate(_TRICKS).encode("utf-8", "backslashreplace").decode("utf-8")
