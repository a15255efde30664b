"""Names of the DNS as detectors look at them: which part somebody registered, and whether a label looks like a word."""

from __future__ import annotations

import re

#: Second levels under which names are registered in many countries (``gov.cn``, ``co.uk``).
_SECOND_LEVELS = frozenset({"com", "net", "org", "gov", "edu", "ac", "co", "mil", "or", "ne", "go"})
#: Lists of bad addresses have short names (``zen.spamhaus.org``, ``b.barracudacentral.org``).
_LIST_LABEL_MAX = 16
_CONSONANTS = re.compile(r"[bcdfghjklmnpqrstvwxz]{5,}")
_VOWELS = re.compile(r"[aeiouy]")


def registered(name: str) -> tuple[str, str]:
    """The registered domain in lower case and what stands before it, as sent; ("", name) for a single label.

    An approximation by label count: a list of all public suffixes would be exact, large, and old by the next month.
    """
    labels = name.rstrip(".").split(".")
    if len(labels) < 2:
        return "", name
    count = 3 if len(labels) > 2 and len(labels[-1]) == 2 and labels[-2].lower() in _SECOND_LEVELS else 2
    return ".".join(labels[-count:]).lower(), ".".join(labels[:-count])


def is_reverse(name: str) -> bool:
    """True for names that stand for addresses: reverse lookups, and the lists of bad addresses that copy their form."""
    lower = name.lower().rstrip(".")
    if lower.endswith((".arpa", ".local")):
        return True
    labels = lower.split(".")
    if len(labels) < 5 or not all(label.isdigit() and int(label) < 256 for label in labels[:4]):
        return False
    # Nothing but the name of the list stands behind the address: data in further labels would be a channel.
    return all(len(label) <= _LIST_LABEL_MAX for label in labels[4:-2]) and len(labels) <= 9


def looks_drawn(label: str) -> bool:
    """True when a label looks drawn by lot: few vowels, a run of consonants, or letters and digits mixed throughout."""
    lower = label.lower()
    if len(lower) < 7 or lower.startswith("xn--"):
        return False
    letters = [letter for letter in lower if letter.isalpha()]
    digits = sum(letter.isdigit() for letter in lower)
    vowels = len(_VOWELS.findall(lower))
    is_mixed = digits >= 3 and len(letters) >= 3 and not lower.rstrip("0123456789").isalpha()
    return is_mixed or vowels < 0.22 * max(1, len(letters)) or _CONSONANTS.search(lower) is not None
