"""Pages that strangers altered, each beside one that its owner changed."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest

from govsec.records import Finding, Severity
from govsec.services.pagebaseline import compare, follow, learn
from govsec.services.pagefacts import PageFacts, read_page
from govsec.services.probe import Prober
from govsec.services.words import shipped_words
from tests.services.conftest import Make
from tests.services.portals import Asked, Portal, Reply

#: Headlines differ in a word, for figures are written alike.
TOPICS = [chr(0x4E00 + 37 * number) for number in range(30)]
NEWS = "".join(f"<li><a href='/news/{number}'>关于{topic}类公告的通知</a></li>" for number, topic in enumerate(TOPICS))
BODY = f"""
<div class=top><a href="https://www.gov.cn/">中国政府网</a><script src="https://static.example/app.js"></script></div>
<ul>{NEWS}</ul><form action="/search"><input name=q></form><p>主办单位：某市人民政府办公室</p><p>备案号 京ICP备0号</p>
"""
PAGE = f"<!doctype html><html><head><title>某市人民政府</title></head><body>{BODY}</body></html>"
DARK = '<a href="https://bet.evil.example/">百家乐 真人娱乐</a>'


class Watched:
    """A page that was accepted, and that may be changed."""

    def __init__(self, portal: Portal, make: Make, **entries: Any) -> None:
        self.portal = portal
        portal.page("/", PAGE)
        page = {"name": "home", "url": portal.url(), **entries}
        self.prober: Prober = make(pages=[page])
        self.prober.accept()

    def shown(self, page: str) -> list[Finding]:
        """What is told when everybody is shown this."""
        self.portal.page("/", page)
        return list(self.prober.probe().findings)

    def kinds(self, page: str) -> list[str]:
        return [finding.kind for finding in self.shown(page)]


@pytest.fixture
def watched(portal: Portal, make: Make) -> Watched:
    return Watched(portal, make)


def test_the_page_that_was_accepted_is_silent(watched: Watched) -> None:
    assert watched.shown(PAGE) == []


def test_a_page_that_was_never_accepted_is_no_pass(portal: Portal, make: Make) -> None:
    portal.page("/", PAGE)
    prober = make(pages=[{"name": "home", "url": portal.url()}])

    assert [finding.kind for finding in prober.probe().findings] == ["service.unmeasured"]


def test_a_defaced_page_is_told_with_before_and_after(watched: Watched) -> None:
    finding, *others = watched.shown("<title>Hacked by nobody</title><h1>hacked by nobody</h1>")

    assert (finding.kind, finding.severity) == ("page.altered", Severity.HIGH)
    assert finding.facts["attack"] == ["T1491.002"]
    assert finding.facts["before"][0] == "某市人民政府"  # type: ignore[index]
    assert finding.facts["after"][0] == "Hacked by nobody"  # type: ignore[index]
    assert [other.kind for other in others] == ["page.words"]


@pytest.mark.parametrize(
    "markup",
    [
        f'<div style="display:none">{DARK}</div>',
        f'<div style="position:absolute; left:-9999px">{DARK}</div>',
        f'<p style="text-indent:-2000em">{DARK}</p>',
        f'<div style="height:0px;overflow:hidden">{DARK}</div>',
        f'<font style="font-size:1px">{DARK}</font>',
        f'<div style="color:#fff">{DARK}</div>',
        f'<div style="background:#123456"><span style="color:#123456">{DARK}</span></div>',
        f"<marquee height=1 width=2>{DARK}</marquee>",
        f"<div hidden>{DARK}</div>",
        f"<style>.q{{ display : none !important }}</style><div class='a q'>{DARK}</div>",
        f'<div style="opacity:0">{DARK}</div>',
        DARK.replace("<a ", '<a/style="visibility:hidden"/'),
    ],
)
def test_a_link_that_nobody_sees_is_told_however_it_is_hidden(watched: Watched, markup: str) -> None:
    found = watched.shown(PAGE.replace("</body>", f"{markup}</body>"))

    assert [finding.kind for finding in found] == ["page.hidden_link", "page.words"]
    assert found[0].severity is Severity.HIGH
    assert found[0].facts["hosts"] == ["bet.evil.example"]


@pytest.mark.parametrize(
    ("markup", "kind"),
    [
        ("<script src=//evil.example/x.js></script>", "page.new_link"),
        ("<iframe src='https://evil.example/'></iframe>", "page.new_link"),
        ("<iframe src='https://evil.example/' width=0 height=0></iframe>", "page.hidden_link"),
        ("<form action='https://evil.example/take'></form>", "page.new_link"),
        ("<meta http-equiv=refresh content='0; URL=https://evil.example/'>", "page.new_link"),
        ("<script>document.write('<a href=\"https:\\/\\/evil.example/\">x</a>')</script>", "page.new_link"),
        ("<base href='https://evil.example/'>", "page.new_link"),
    ],
)
def test_what_runs_or_takes_what_visitors_write_is_told_at_once(watched: Watched, markup: str, kind: str) -> None:
    found = watched.shown(PAGE.replace("</head>", f"{markup}</head>"))

    assert (found[0].kind, found[0].severity) == (kind, Severity.HIGH)
    assert "evil.example" in str(found[0].facts["links"])
    assert "T1189" in found[0].facts["attack"]  # type: ignore[operator]


@pytest.mark.parametrize(
    "markup",
    [
        f"<!-->{DARK}<!-- -->",
        f"<!--->{DARK}<!-- -->",
        f"<!-- x --!>{DARK}<!-- -->",
        f"</!<a title='>{DARK}'>",
        f"<svg><title>{DARK}</title></svg>",
        f"<svg><style>{DARK}</style></svg>",
        f"<math><xmp>{DARK}</xmp></math>",
        f"<svg><![CDATA[><a title=']]></svg>{DARK}'>",
        f"<svg><p><style><a title='</style>{DARK}'>",
        f"<svg><desc><style><a title='</style>{DARK}'>",
        f"<svg/><style><a title='</style>{DARK}'>",
        f"<svg></svg><style><a title='</style>{DARK}'>",
        "<svg>" + DARK.replace("href", "xlink:href") + "</svg>",
        f"<iframe srcdoc='{DARK}'></iframe>",
        f"<iframe srcdoc='{'x ' * 8000}{DARK}'></iframe>",
        f"<iframe srcdoc=\"<iframe srcdoc='{DARK.replace(chr(34), '&amp;quot;')}'>\"></iframe>",
    ],
)
def test_a_link_is_read_where_browsers_read_one(watched: Watched, markup: str) -> None:
    found = watched.shown(PAGE.replace("</body>", f"{markup}</body>"))

    assert [finding.kind for finding in found] == ["page.new_link", "page.words"]
    assert "bet.evil.example" in str(found[0].facts["links"])


@pytest.mark.parametrize(
    "markup",
    [
        f"<!--{DARK}-->",
        f"<!-- <!-- {DARK} -- > -->",
        f"<svg><title>x</title></svg><!-- {DARK} -->",
        f"<svg><foreignObject><textarea></svg>{DARK.replace('百家乐 真人娱乐', '')}</textarea></foreignObject></svg>",
        f"<svg><title>x</title><path d=''/></svg><style>{DARK}</style>",
        "<a href=\"javascript:window.location.href='/news/more'\" onclick='location.replace(this.href)'>更多</a>",
    ],
)
def test_no_link_is_read_where_browsers_read_none(watched: Watched, markup: str) -> None:
    assert watched.kinds(PAGE.replace("</body>", f"{markup}</body>")) == []


@pytest.mark.parametrize(
    "markup",
    [
        "<img src=x onerror=\"location.replace('//evil.example/')\">",
        "<iframe src=\"java&#10;script:top.location='%68ttps://evil.example/'\"></iframe>",
        "<svg><script>top.location='https://evil.example/'</script></svg>",
        "<svg onload=\"top.location='https://evil.example/'\"/>",
        "<iframe srcdoc=\"<script src='https://evil.example/x.js'></script>\"></iframe>",
    ],
)
def test_scripts_in_attributes_and_pictures_are_read(watched: Watched, markup: str) -> None:
    found = watched.shown(PAGE.replace("</body>", f"{markup}</body>"))

    assert (found[0].kind, found[0].severity) == ("page.new_link", Severity.HIGH)
    assert "evil.example" in str(found[0].facts["links"])


@pytest.mark.parametrize(
    "markup",
    [
        "<a href=\"java&#10;script:top.location='https://evil.example/'\">x</a>",
        "<p onclick=\"open('//evil.example/')\">x</p>",
    ],
)
def test_where_a_click_leads_is_a_link(watched: Watched, markup: str) -> None:
    (finding,) = watched.shown(PAGE.replace("</body>", f"{markup}</body>"))

    assert (finding.kind, finding.severity) == ("page.new_link", Severity.LOW)
    assert "evil.example" in str(finding.facts["links"])


def test_a_script_in_an_attribute_that_runs_by_itself_is_told_for_what_it_does(watched: Watched) -> None:
    markup = "<img src=x onerror=\"eval(atob('bG9jYXRpb24='))\">"

    assert watched.kinds(PAGE.replace("</body>", f"{markup}</body>")) == ["page.new_script"]


def test_a_packed_script_is_told_even_when_no_address_can_be_read_in_it(watched: Watched) -> None:
    script = "<script>eval(function(p,a,c,k,e,d){return p}('0 1',2,2))</script>"

    assert watched.kinds(PAGE.replace("</body>", f"{script}</body>")) == ["page.new_script"]


def test_an_editor_who_links_to_another_site_is_a_note(watched: Watched) -> None:
    (finding,) = watched.shown(PAGE.replace("<p>主", '<p><a href="https://www.example.gov.cn/">专题</a></p><p>主'))

    assert (finding.kind, finding.severity) == ("page.new_link", Severity.LOW)


def test_news_of_the_day_and_another_version_of_a_script_are_silent(watched: Watched) -> None:
    page = PAGE.replace(f"关于{TOPICS[3]}类公告的通知", "关于防汛工作的通知").replace("app.js", "app.20261122.js")

    assert watched.shown(page.replace("京ICP备0号", "京ICP备12345号 2026年11月22日 访问量 1,234,567")) == []


def test_a_new_version_is_told_until_it_is_accepted(watched: Watched) -> None:
    page = (
        PAGE.replace("<li>", "<li class=n><span>")
        .replace("某市人民政府办公室", "某市政务服务局")
        .replace("类公告", "类公示")
    )
    assert watched.kinds(page) == ["page.altered"]

    watched.prober.accept()

    assert watched.shown(page) == []


def test_a_page_whose_parts_take_turns_is_learned_and_silent(portal: Portal, make: Make) -> None:
    turns = itertools.cycle(range(3))

    def rotating(asked: Asked) -> Reply:
        turn = next(turns)
        link = f"<a href='https://ads{turn}.example/'>专题{'一二三'[turn]}</a>"
        banner = f"<div id=b{turn}>{link}<p>今日第 {turn} 条</p></div>"
        return 200, {"Content-Type": "text/html; charset=utf-8"}, PAGE.replace("<ul>", f"{banner}<ul>").encode()

    portal.routes["/"] = rotating
    prober = make(pages=[{"name": "home", "url": portal.url(), "takes": 3}])
    prober.accept()

    assert [prober.probe().findings for _ in range(4)] == [()] * 4


def test_all_news_may_go_in_some_weeks_and_a_defacement_after_that_is_still_told(watched: Watched) -> None:
    page = PAGE
    for number in range(30):
        page = page.replace(f"关于{TOPICS[number]}类公告", f"今起受理{TOPICS[number]}类申请")
        assert watched.shown(page) == [], number
        assert watched.shown(page) == []

    assert watched.kinds("<title>某市人民政府</title><p>gone</p>") == ["page.altered"]


def test_all_news_at_once_is_told(watched: Watched) -> None:
    assert watched.kinds(PAGE.replace("类公告的通知", "条内容被替换")) == ["page.altered"]


def test_a_menu_that_hides_links_to_hosts_of_the_page_is_silent(watched: Watched) -> None:
    menu = '<ul style="display:none"><li><a href="https://www.gov.cn/x">国务院</a><a href="/y">首页</a></li></ul>'

    assert watched.shown(PAGE.replace("</body>", f"{menu}</body>")) == []


def test_a_page_in_the_older_charset_is_read_whoever_names_it(portal: Portal, make: Make) -> None:
    page = '<meta http-equiv="Content-Type" content="text/html; charset=gb2312"><title>市政府 </title><p>百家乐 朱镕基'
    portal.routes["/"] = (200, {"Content-Type": "text/html"}, page.encode("gbk"))
    prober = make(pages=[{"name": "home", "url": portal.url()}])

    (accepted,) = prober.accept().values()

    assert (accepted.title, accepted.words) == ("市政府", {"百家乐"})
    assert "百家乐 朱镕基" in accepted.texts.values()


def test_a_charset_that_takes_for_ever_to_decode_is_not_used(portal: Portal, make: Make) -> None:
    portal.routes["/"] = (200, {"Content-Type": "text/html; charset=punycode"}, b"a" * 2_000_000)

    # The suite's own limit of five minutes is what the codec would run into.
    assert make(pages=[{"name": "home", "url": portal.url()}]).accept()


def test_who_is_shown_another_page_only_at_the_first_visit_is_found(watched: Watched) -> None:
    def page(asked: Asked) -> Reply:
        is_new_spider = "spider" in asked.headers["User-Agent"] and "Cookie" not in asked.headers
        text = PAGE.replace("</body>", f"{DARK}</body>") if is_new_spider else PAGE
        return 200, {"Content-Type": "text/html; charset=utf-8", "Set-Cookie": "seen=1"}, text.encode()

    watched.portal.routes["/"] = page

    assert [finding.kind for finding in watched.prober.probe().findings] == ["page.cloaked"]


def test_a_page_that_changes_while_it_is_taken_is_no_cloak(watched: Watched) -> None:
    takes = itertools.count()

    def page(asked: Asked) -> Reply:
        is_new = next(takes) >= 2  # both families see the old one, the spider and all who come later the new one
        text = PAGE.replace("</body>", '<a href="https://www.example.gov.cn/">专题</a></body>') if is_new else PAGE
        return 200, {"Content-Type": "text/html; charset=utf-8"}, text.encode()

    watched.portal.routes["/"] = page

    assert watched.prober.probe().findings == ()
    assert next(takes) > 3


def test_a_take_in_which_something_was_told_is_not_followed() -> None:
    def take(body: str) -> PageFacts:
        return read_page(f"<title>t</title>{body}", "https://portal.example/")

    words = shipped_words()
    before = take("".join(f"<p>{topic}</p>" for topic in TOPICS))
    less = "".join(f"<p>{topic}</p>" for topic in TOPICS[3:])
    accepted = learn([before], datetime(2026, 1, 1, tzinfo=UTC), words)
    for body, is_followed in ((less, True), (less + DARK, False), (less + "<p>hacked by x</p>", False)):
        now = take(body)
        difference = compare(accepted, now, ["portal.example"], words)

        assert (follow(accepted, now, difference, 0.3) != accepted) is is_followed
        assert follow(accepted, now, difference, 0) == accepted


def cloaked(who: str) -> Any:
    def page(asked: Asked) -> Reply:
        is_meant = {
            "spider": "Baiduspider" in asked.headers["User-Agent"],
            "from_search": "baidu" in asked.headers.get("Referer", ""),
            "ipv6": asked.family == "ipv6",
        }[who]
        text = PAGE.replace("</body>", f"{DARK}</body>") if is_meant else PAGE
        return 200, {"Content-Type": "text/html; charset=utf-8"}, text.encode()

    return page


@pytest.mark.parametrize("who", ["spider", "from_search", "ipv6"])
def test_a_page_that_some_are_shown_differently_is_told(watched: Watched, who: str) -> None:
    watched.portal.routes["/"] = cloaked(who)

    found = watched.prober.probe().findings

    assert [(finding.kind, finding.facts["how"]) for finding in found] == [("page.cloaked", who)]
    assert "bet.evil.example" in str(found[0].facts["links"])


def test_visitors_from_a_search_who_are_sent_elsewhere_are_told(watched: Watched) -> None:
    def page(asked: Asked) -> Reply:
        if "Referer" in asked.headers:
            return 302, {"Location": "https://bet.evil.example/in?from=gov"}, b""
        return 200, {"Content-Type": "text/html; charset=utf-8"}, PAGE.encode()

    watched.portal.routes["/"] = page

    (finding,) = watched.prober.probe().findings

    assert (finding.kind, finding.facts["after"]) == ("page.cloaked", ["https://bet.evil.example/in"])


def test_everybody_sent_elsewhere_is_told_and_a_firewall_that_keeps_spiders_out_is_not(watched: Watched) -> None:
    watched.portal.routes["/"] = lambda asked: (
        (403, {}, b"")
        if "spider" in asked.headers["User-Agent"]
        else (200, {"Content-Type": "text/html"}, PAGE.encode())
    )
    assert watched.prober.probe().findings == ()

    watched.portal.routes["/"] = (302, {"Location": "https://bet.evil.example/"}, b"")

    assert {finding.kind for finding in watched.prober.probe().findings} == {"page.redirected", "service.unmeasured"}


def test_words_put_apart_are_found_and_news_about_them_that_were_accepted_are_not(portal: Portal, make: Make) -> None:
    watched = Watched(portal, make)
    apart = PAGE.replace("</title>", "-六 合.彩</title>")

    assert watched.kinds(apart) == ["page.altered", "page.words"]

    watched.prober.accept()
    assert watched.shown(apart) == []


@pytest.mark.parametrize(
    "page",
    [
        "<" * 300_000,
        "<a " * 200_000,
        "<!--" * 200_000,
        "<![CDATA[" * 100_000,
        "<svg>" + "<![CDATA[" * 100_000,
        "<svg><title>" * 40_000 + "</svg>" * 20_000,
        "<!----" + "--!" * 200_000,
        "<!-- -->" * 50_000 + "--!>",
        "<iframe srcdoc='" * 50_000,
        "<a onclick='" + "eval ( " * 1_000 + "'>" * 10_000,
        '<a href="' * 100_000,
        "<div>" * 70_000,
        "<script>" * 100_000,
        "<a " + "x=1 " * 200_000 + ">",
        "<meta http-equiv=refresh content='" + " " * 200_000 + "'>",
        "<p>" + "a-" * 200_000,
        "<style>" + "{" * 200_000,
        "<style>" + "a,." * 100_000 + "{x:y}</style>",
        "<p>" + "&#x110000;" * 50_000,
        "<script>" + "eval ( " * 60_000 + "//" * 60_000 + "</script>",
        "<base href='http://[::1'><a href='http://[oops/'>x</a>\0",
        "",
    ],
)
def test_a_page_made_to_hang_its_reader_is_read(portal: Portal, make: Make, page: str) -> None:
    watched = Watched(portal, make, search_engines=False, takes=1)
    # The suite's own limit of five minutes is what a reader that goes back would run into.
    assert watched.shown(page)
