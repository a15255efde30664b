"""Whether an element is hidden from who looks at the page, while search engines read it: what makes a link dark (暗链).

Judged from what the page itself says: attributes, inline styles and rules of its ``<style>`` blocks for one class or
id. Style sheets of other files and what scripts do later are not applied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_RULES_MAX = 5000
_STYLE_MAX = 2000
_SIMPLE_SELECTOR = re.compile(r"(?:[a-z][a-z0-9]{0,20})?[.#][A-Za-z0-9_-]{1,80}")
_NUMBER = re.compile(r"(-?[0-9]{0,6}(?:\.[0-9]{1,4})?)\s*(px|pt|em|rem|%|vw|vh)?", re.IGNORECASE)
#: Nobody scrolls so far to the left or above; a picture that slides in stands one width of a screen beside it.
_OFFSCREEN_PX = 500
_FAR_PX = 5000
_TINY_PX = 2
_PX = {"px": 1.0, "": 1.0, "pt": 1.33, "em": 16.0, "rem": 16.0, "%": 1.0, "vw": 12.0, "vh": 8.0}
_NAMED = {"white": "#ffffff", "black": "#000000", "transparent": "transparent"}


@dataclass(slots=True)
class Styles:
    """Rules of the page's own style blocks, by simple selector."""

    rules: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, sheet: str) -> None:
        """Take in a ``<style>`` block."""
        for block in sheet.split("}"):
            selectors, _, body = block.rpartition("{")
            for selector in selectors.rpartition("{")[2].split(",")[:50]:
                name = selector.strip()
                if body and len(self.rules) < _RULES_MAX and _SIMPLE_SELECTOR.fullmatch(name):
                    self.rules.setdefault(name, {}).update(declarations(body))

    def of(self, tag: str, attributes: Mapping[str, str]) -> dict[str, str]:
        """What holds for an element: rules of its classes, of its id, then its own style."""
        found: dict[str, str] = {}
        keys = [f".{name}" for name in attributes.get("class", "").split()[:20]] + [f"#{attributes.get('id', '')}"]
        for key in keys:
            for form in (key, f"{tag}{key}"):
                found.update(self.rules.get(form, {}))
        found.update(declarations(attributes.get("style", "")))
        return found


def declarations(text: str) -> dict[str, str]:
    """Properties and values of a style, in lower case, without comments."""
    found = {}
    for part in re.sub(r"/\*[^*]{0,200}\*/", "", text[:_STYLE_MAX]).split(";"):
        name, colon, value = part.partition(":")
        if colon:
            found[name.strip().lower()] = value.replace("!important", "").strip().lower()
    return found


def hidden_why(tag: str, attributes: Mapping[str, str], style: Mapping[str, str], background: str) -> str:
    """Why nobody sees this element: one word, empty when it is seen. ``background``: the colour behind it."""
    if "hidden" in attributes:
        return "hidden"
    if style.get("display") == "none" or style.get("visibility") in ("hidden", "collapse"):
        return "display"
    if _number(style.get("opacity", "1")) == 0 or "opacity=0)" in style.get("filter", "").replace(" ", ""):
        return "opacity"
    if _is_offscreen(style):
        return "offscreen"
    if _is_tiny(tag, attributes, style):
        return "size"
    size = style.get("font-size", "")
    if size and (pixels := _pixels(size)) is not None and pixels < _TINY_PX:
        return "font"
    colour = _colour(style.get("color", attributes.get("color", "")))
    if colour and (colour == "transparent" or colour == _colour(background)):
        return "colour"
    return ""


def background_of(attributes: Mapping[str, str], style: Mapping[str, str], before: str) -> str:
    """The colour behind what stands in this element."""
    said = style.get("background-color") or style.get("background", "").split(" ")[0] or attributes.get("bgcolor", "")
    return said if _colour(said) not in ("", "transparent") else before


def _is_offscreen(style: Mapping[str, str]) -> bool:
    for name in ("left", "top", "right", "bottom", "margin-left", "margin-top", "text-indent", "margin-right"):
        pixels = _pixels(style.get(name, ""))
        if pixels is not None and (pixels <= -_OFFSCREEN_PX or (name in ("left", "top") and pixels >= _FAR_PX)):
            return True
    clip = style.get("clip", "") + style.get("clip-path", "")
    is_clipped = "rect(0" in clip.replace(" ", "") or "inset(100%" in clip or "inset(50%" in clip
    return is_clipped or "scale(0)" in style.get("transform", "")


def _is_tiny(tag: str, attributes: Mapping[str, str], style: Mapping[str, str]) -> bool:
    if tag in ("iframe", "frame", "marquee", "object", "embed"):
        sizes = [_pixels(style.get(name) or attributes.get(name, "")) for name in ("width", "height")]
        return any(size is not None and size <= 2 * _TINY_PX for size in sizes)
    sizes = [_pixels(style.get(name, "")) for name in ("width", "height", "max-height", "line-height")]
    is_cut_off = style.get("overflow", "") in ("hidden", "clip") or style.get("overflow-y") == "hidden"
    return is_cut_off and any(size is not None and size < _TINY_PX for size in sizes)


def _pixels(text: str) -> float | None:
    found = _NUMBER.match(text.strip())
    if found is None or found[1] in ("", "-"):
        return None
    return float(found[1]) * _PX[(found[2] or "").lower()]


def _number(text: str) -> float | None:
    found = _NUMBER.match(text.strip())
    return float(found[1]) if found and found[1] not in ("", "-") else None


def _colour(text: str) -> str:
    value = text.strip().lower()
    value = _NAMED.get(value, value)
    if re.fullmatch(r"#[0-9a-f]{3}", value):
        return "#" + "".join(digit * 2 for digit in value[1:])
    if found := re.fullmatch(r"rgba?\((\d{1,3}),\s*(\d{1,3}),\s*(\d{1,3})(?:,\s*([0-9.]{1,6}))?\)", value):
        if found[4] is not None and _number(found[4]) == 0:
            return "transparent"
        return "#" + "".join(f"{min(int(part), 255):02x}" for part in found.groups()[:3])
    return value
