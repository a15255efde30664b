"""What a page was when a person accepted it, learned from several takes, and how another take differs from that.

One idea: what is the same in every take is what somebody wrote and means to keep; the rest is dynamic and says nothing.
Of hosts, scripts and words all that were ever seen are accepted. A page is altered when much of what lasts is gone;
what leads elsewhere is told however little of the page it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from govsec.config import explain
from govsec.errors import FormatError, LimitError, TryAgainError
from govsec.localfile import read_bounded
from govsec.privatefile import make_private_directory, write_private
from govsec.records import Moment
from govsec.services.pagefacts import Link, PageFacts, digest_of
from govsec.services.words import Words

_SIZE_MAX = 64 << 20
_SHOWN_MAX = 80
_STABLE_MAX = 4000
_LISTED_MAX = 8


class AcceptedPage(BaseModel):
    """A page as it was accepted. ``texts``: the lasting ones by digest, with their beginning for people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    accepted: Moment
    takes: int
    #: Empty when it is different at every visit.
    title: str
    texts: Mapping[str, str]
    #: Whether all takes had the same texts, so that another one is no dynamic part.
    is_static: bool
    structure: Mapping[str, int]
    #: Digests of texts that were new when the page was last taken: those that are still there the next time last.
    candidates: frozenset[str] = frozenset()
    #: ``kind host`` of everything that leads elsewhere.
    targets: frozenset[str]
    #: The same, of what nobody sees.
    hidden: frozenset[str]
    scripts: frozenset[str]
    words: frozenset[str]


@dataclass(frozen=True, slots=True)
class Difference:
    """How a take differs from what was accepted; shares are 0 to 1."""

    title: tuple[str, str] | None
    texts_gone: tuple[str, ...]
    texts_gone_share: float
    texts_new: tuple[str, ...]
    structure_share: float
    links_new: tuple[Link, ...]
    links_hidden: tuple[Link, ...]
    #: What new scripts do that has no honest reason.
    tricks: tuple[str, ...]
    words: tuple[str, ...]

    def is_altered(self, change_max: float) -> bool:
        """More has changed than is allowed."""
        if self.title is not None or (change_max == 0 and self.texts_new):
            return True
        return self.texts_gone_share > change_max or self.structure_share > change_max


def learn(takes: Sequence[PageFacts], accepted: Moment, words: Words) -> AcceptedPage:
    """What these takes of one page, one at least, have in common."""
    sets = [{digest_of(text): text[:_SHOWN_MAX] for text in take.texts} for take in takes]
    lasting = set(sets[0]).intersection(*sets[1:])
    texts = {key: text for key, text in sets[0].items() if key in lasting}
    titles = {take.title for take in takes}
    structure = takes[0].structure.copy()
    for take in takes[1:]:
        structure &= take.structure
    links = [link for take in takes for link in take.links]
    return AcceptedPage(
        url=takes[0].url,
        accepted=accepted,
        takes=len(takes),
        title=titles.pop() if len(titles) == 1 else "",
        texts=dict(list(texts.items())[:_STABLE_MAX]),
        is_static=all(set(one) == lasting for one in sets),
        structure=dict(structure.most_common(_STABLE_MAX)),
        targets=frozenset(_target(link) for link in links),
        hidden=frozenset(_target(link) for link in links if link.hidden),
        scripts=frozenset(digest for take in takes for digest in take.scripts),
        words=frozenset(word for take in takes for word in words.found(said_of(take))),
    )


def compare(accepted: AcceptedPage, take: PageFacts, hosts_own: Iterable[str], words: Words) -> Difference:
    """How ``take`` differs. ``hosts_own``: links to these and to hosts below them are expected."""
    own = tuple(hosts_own)
    now = {digest_of(text): text[:_SHOWN_MAX] for text in take.texts}
    gone = [text for key, text in accepted.texts.items() if key not in now]
    new = [text for key, text in now.items() if key not in accepted.texts] if accepted.is_static else []
    foreign = [link for link in take.links if not _is_own(link.host, own)]
    # Styles are no reason to hide: a text of a script is hidden by nature, and told as a new link.
    hidden = [
        link for link in foreign if link.hidden and link.hidden != "script" and _target(link) not in accepted.targets
    ]
    tricks = {trick for digest, found in take.scripts.items() if digest not in accepted.scripts for trick in found}
    return Difference(
        title=(accepted.title, take.title) if accepted.title and take.title != accepted.title else None,
        texts_gone=tuple(gone[:_LISTED_MAX]),
        texts_gone_share=len(gone) / len(accepted.texts) if accepted.texts else 0.0,
        texts_new=tuple(new[:_LISTED_MAX]),
        structure_share=_structure_share(accepted.structure, take.structure),
        links_new=_different(link for link in foreign if _target(link) not in accepted.targets and link not in hidden),
        links_hidden=_different(hidden),
        tricks=tuple(sorted(tricks)),
        words=tuple(word for word in words.found(said_of(take)) if word not in accepted.words),
    )


def follow(accepted: AcceptedPage, take: PageFacts, difference: Difference, change_max: float) -> AcceptedPage:
    """What the next take is held against: texts that went are forgotten, new ones last once they were seen twice.

    A portal's news are all others after some weeks, a few a day. Only a take in which nothing was to be told is
    followed, only in its texts, and never where nothing may change; title, structure, hosts and words stay those that
    a person accepted.
    """
    is_quiet = not (difference.links_new or difference.links_hidden or difference.words or difference.tricks)
    if change_max == 0 or not is_quiet or difference.is_altered(change_max):
        return accepted
    now = {digest_of(text): text[:_SHOWN_MAX] for text in take.texts}
    lasting = {key: text for key, text in now.items() if key in accepted.texts or key in accepted.candidates}
    candidates = frozenset(list(now.keys() - lasting.keys())[:_STABLE_MAX])
    kept = dict(list(lasting.items())[:_STABLE_MAX])
    return accepted.model_copy(update={"texts": kept, "candidates": candidates})


def said_of(take: PageFacts) -> list[str]:
    """Everything on a page in which words are looked for."""
    return [take.title, take.description, *take.texts, *take.hidden_texts, *(link.text for link in take.links)]


def _structure_share(before: Mapping[str, int], now: Counter[str]) -> float:
    """The larger of two shares: what is gone of what lasted, and what is new in what there is."""
    total_before, total_now = sum(before.values()), sum(now.values())
    if not total_before:
        return 0.0
    gone = sum(max(0, count - now[path]) for path, count in before.items())
    new = sum(max(0, count - before.get(path, 0)) for path, count in now.items() if path not in before)
    return max(gone / total_before, new / total_now if total_now else 0.0)


def _target(link: Link) -> str:
    return f"{link.kind} {link.host}"


def _is_own(host: str, own: Iterable[str]) -> bool:
    return any(host == known or host.endswith(f".{known}") for known in own)


def _different(links: Iterable[Link]) -> tuple[Link, ...]:
    """One link for each kind and host."""
    return tuple({_target(link): link for link in links}.values())


class _Pages(BaseModel):
    model_config = ConfigDict(extra="forbid")
    version: int = Field(default=1, ge=1, le=1)
    pages: dict[str, AcceptedPage] = Field(default_factory=dict)


class PageFile:
    """The accepted pages of a site, in one private file; keys are ``service page``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, AcceptedPage]:
        """All of them; none when there is no file.

        Raises:
            FormatError: the file is none of ours. TryAgainError: it cannot be read.
        """
        try:
            return _Pages.model_validate_json(read_bounded(self._path, _SIZE_MAX)).pages
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise TryAgainError(f"{self._path}: {error.strerror}") from error
        except LimitError as error:
            raise FormatError(f"{self._path}: no accepted pages: {error}") from error
        except ValidationError as error:
            raise FormatError(f"{self._path}: no accepted pages: {explain(error)}") from error

    def write(self, pages: Mapping[str, AcceptedPage]) -> None:
        """Keep these; on the disk when this returns.

        Raises:
            TryAgainError: it cannot be written. LimitError: it would be more than is read again. What was there is
            still there then.
        """
        data = _Pages(pages=dict(pages)).model_dump_json().encode()
        if len(data) > _SIZE_MAX:
            raise LimitError(f"{self._path}: more than {_SIZE_MAX} bytes of accepted pages")
        try:
            make_private_directory(self._path.resolve().parent)
            write_private(self._path, data)
        except OSError as error:
            raise TryAgainError(f"{self._path}: {error.strerror}") from error
