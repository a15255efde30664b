"""Takes a page as its visitors do, holds it against what was accepted and against what others are shown meanwhile.

One idea: who puts links into a page wants search engines to see them and its owner not to. So the page is also taken as
a spider and as somebody who comes from a search engine, over both families, and what is shown to them alone is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from govsec.clock import Clock
from govsec.serviceentry import Family, PageConfig
from govsec.services.asking import Asker, NoAddress, RedirectRefused, Trace, Wanted
from govsec.services.pagebaseline import AcceptedPage, Difference, compare, learn
from govsec.services.pagefacts import PageFacts, read_page
from govsec.services.words import Words
from govsec.web.connection import NO_WAY, RequestError

_BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
)
#: Baidu's spider by its published name; a visitor from its results (a search for the Chinese word for "government").
_SPIDER = "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)"
_FROM_SEARCH = "https://www.baidu.com/s?wd=%E6%94%BF%E5%BA%9C"
_PLAIN: Mapping[str, str] = {"User-Agent": _BROWSER, "Accept": "text/html,*/*;q=0.8", "Accept-Language": "zh-CN,zh"}
#: A page that greets its visitor differs in a line; another page differs in most.
_REBUILT_SHARE_MIN = 0.3
VISITORS: Mapping[str, Mapping[str, str]] = {
    "spider": {**_PLAIN, "User-Agent": _SPIDER},
    "from_search": {**_PLAIN, "Referer": _FROM_SEARCH},
}


@dataclass(frozen=True, slots=True)
class Cloak:
    """Somebody is shown another page. ``who``: spider, from_search, ipv4 or ipv6."""

    who: str
    difference: Difference | None
    #: Where they are sent, when they are shown no page at all.
    sent_to: str = ""


@dataclass(frozen=True, slots=True)
class PageResult:
    """One page. ``difference`` None: nothing was accepted yet, or it could not be taken (``reason``)."""

    name: str
    url: str
    facts: PageFacts | None
    accepted: AcceptedPage | None
    difference: Difference | None
    cloaks: tuple[Cloak, ...] = ()
    #: Where every visitor is sent, out of what the configuration allows.
    sent_to: str = ""
    reason: str = ""


def look_at_page(
    page: PageConfig, askers: Mapping[Family, Asker], accepted: AcceptedPage | None, words: Words, clock: Clock
) -> PageResult:
    """The page as it is now. ``askers``: one for each family that has a way to it, at least one."""
    own = own_hosts(page)
    takes: dict[Family, PageFacts] = {}
    reason = sent_to = ""
    for family, asker in askers.items():
        try:
            takes[family] = _take(page, asker, _PLAIN)
        except RedirectRefused as error:
            sent_to = error.target
        except RequestError as error:
            if not isinstance(error, NoAddress) and error.errno not in NO_WAY:
                reason = reason or f"{family}: {error}"
    if not takes:
        return PageResult(page.name, page.url, None, accepted, None, sent_to=sent_to, reason=reason or "no address")
    first = next(iter(takes.values()))
    difference = compare(accepted, first, own, words) if accepted is not None else None
    cloaks = tuple(_cloaks(page, askers, takes, accepted, words, clock))
    return PageResult(page.name, page.url, first, accepted, difference, cloaks, sent_to, reason)


def accept_page(page: PageConfig, askers: Mapping[Family, Asker], words: Words, clock: Clock) -> AcceptedPage:
    """The page as it is from now on to be.

    Raises:
        RequestError: it cannot be taken over any family.
    """
    takes: list[PageFacts] = []
    last = RequestError("resolve", "no address of any family")
    for turn in range(page.takes):
        if turn:
            clock.sleep(page.take_pause_s)
        for asker in askers.values():
            try:
                takes.append(_take(page, asker, _PLAIN))
            except RequestError as error:
                last = error
    if not takes:
        raise last
    return learn(takes, clock.now(), words)


def own_hosts(page: PageConfig) -> tuple[str, ...]:
    """Hosts that links of the page are expected to lead to."""
    return ((urlsplit(page.url).hostname or "").lower(), *(host.lower() for host in page.hosts))


def _take(page: PageConfig, asker: Asker, headers: Mapping[str, str]) -> PageFacts:
    trace = Trace()
    answer = asker.as_new_visitor().ask(Wanted(page.url, headers=headers, size_bytes_max=page.size_bytes_max), trace)
    if answer.status != 200:
        raise RequestError("answer", f"status {answer.status}")
    return read_page(answer.text(), page.url)


def _cloaks(
    page: PageConfig,
    askers: Mapping[Family, Asker],
    takes: Mapping[Family, PageFacts],
    accepted: AcceptedPage | None,
    words: Words,
    clock: Clock,
) -> Iterator[Cloak]:
    """Who is shown another page. Nothing is told before the page was taken once more: parts of it may take turns."""
    families = list(takes)
    shown: list[tuple[str, Family, PageFacts]] = [(family, families[1 - at], takes[family]) for at, family in
                                                  enumerate(families)] if len(families) == 2 else []  # fmt: skip
    first = families[0]
    for who, headers in VISITORS.items() if page.search_engines else ():
        try:
            shown.append((who, first, _take(page, askers[first], headers)))
        except RedirectRefused as error:
            yield Cloak(who, None, error.target)
        except RequestError:  # a firewall that keeps spiders out shows them nothing, and so nothing else either
            continue
    for who, family, take in shown:
        usual = [takes[family]]
        found = compare(learn(usual, clock.now(), words), take, own_hosts(page), words)
        if not _is_another(found, accepted, page):
            continue
        with suppress(RequestError):
            usual.append(_take(page, askers[family], _PLAIN))
        found = compare(learn(usual, clock.now(), words), take, own_hosts(page), words)
        if _is_another(found, accepted, page):
            yield Cloak(who, found)


def _is_another(found: Difference, accepted: AcceptedPage | None, page: PageConfig) -> bool:
    """More than what two visits differ by: another page, or foreign links and words that nobody accepted."""
    share_max = max(page.change_max, _REBUILT_SHARE_MIN)
    if found.texts_gone_share > share_max and found.structure_share > share_max:
        return True
    links, known = (*found.links_new, *found.links_hidden), accepted.targets if accepted else frozenset()
    said = set(found.words) - (accepted.words if accepted else frozenset())
    return bool(said) or any(f"{link.kind} {link.host}" not in known for link in links)
