"""Password guessing over SSH, FTP, RDP, SMB and HTTP, and people who log in; with a guess on a port nobody knows.

Twins share protocol and server with their attack: a person errs once or twice, a job logs in often and rightly.
"""

from __future__ import annotations

import base64
import struct
from random import Random

from govsec.testing.packets import MILLISECOND, SECOND, START_NS, Conversation, Frame, Station, merge, outside, station
from govsec.testing.trafficsmb import smb_login
from govsec.testing.traffictls import client_hello, sealed, server_flight

GUESSER = outside("203.0.113.45")
SERVER = station(21)
_CLIENT_BANNER, _SERVER_BANNER = b"SSH-2.0-libssh2_1.10.0\r\n", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"
_ALGORITHMS = (
    b"curve25519-sha256,ecdh-sha2-nistp256",
    b"ssh-ed25519,rsa-sha2-512",
    b"aes128-ctr,aes256-ctr",
    b"aes128-ctr,aes256-ctr",
    b"hmac-sha2-256,hmac-sha2-512",
    b"hmac-sha2-256,hmac-sha2-512",
    b"none",
    b"none",
    b"",
    b"",
)


def ssh_key_exchange(rng: Random) -> bytes:
    """SSH_MSG_KEXINIT in its packet. Source: RFC 4253 sections 6 and 7.1."""
    lists = b"".join(struct.pack("!I", len(names)) + names for names in _ALGORITHMS)
    payload = b"\x14" + rng.randbytes(16) + lists + b"\x00" + struct.pack("!I", 0)
    padding = 8 - (len(payload) + 5) % 8 + 4
    padding += -(len(payload) + 5 + padding) % 8
    return struct.pack("!IB", len(payload) + padding + 1, padding) + payload + b"\0" * padding


def ssh_session(
    rng: Random, time_ns: int, client: Station, server: Station, *, tries: int, is_in: bool, port: int = 22
) -> list[Frame]:
    """``tries`` passwords; where ``is_in``, the last one is right and some work follows."""
    talk = Conversation(rng, time_ns, client, server, port, round_trip_ns=10 * MILLISECOND).open()
    talk.answer(_SERVER_BANNER).ask(_CLIENT_BANNER).ask(ssh_key_exchange(rng)).answer(ssh_key_exchange(rng))
    talk.ask(rng.randbytes(48)).answer(rng.randbytes(452)).ask(rng.randbytes(16))
    talk.ask(rng.randbytes(44)).answer(rng.randbytes(44)).ask(rng.randbytes(68)).answer(rng.randbytes(52))
    for _ in range(tries):
        talk.ask(rng.randbytes(148)).wait(300 * MILLISECOND).answer(rng.randbytes(52))
    if is_in:
        for _ in range(30):
            talk.ask(rng.randbytes(36)).answer(rng.randbytes(rng.randint(36, 1200))).wait(400 * MILLISECOND)
    return talk.close().frames


def spread_ssh_guessing(rng: Random, *, time_ns: int = START_NS, connections_count: int = 5) -> list[Frame]:
    """:data:`GUESSER` tries all passwords that a server takes in one connection, in few of them at once."""
    parts = [
        ssh_session(rng, time_ns + number * 200 * MILLISECOND, GUESSER, SERVER, tries=6, is_in=False)
        for number in range(connections_count)
    ]
    return merge(*parts)


def ssh_errand(rng: Random, time_ns: int, client: Station, server: Station, *, keys: int) -> list[Frame]:
    """One short command: an agent offers ``keys`` that are not known, then one that is."""
    talk = Conversation(rng, time_ns, client, server, 22, round_trip_ns=10 * MILLISECOND).open()
    talk.answer(_SERVER_BANNER).ask(_CLIENT_BANNER).ask(ssh_key_exchange(rng)).answer(ssh_key_exchange(rng))
    talk.ask(rng.randbytes(48)).answer(rng.randbytes(452)).ask(rng.randbytes(16))
    talk.ask(rng.randbytes(44)).answer(rng.randbytes(44)).ask(rng.randbytes(68)).answer(rng.randbytes(76))
    for _ in range(keys):
        talk.ask(rng.randbytes(372)).answer(rng.randbytes(76))
    # The key is known; then success, the server's keys, a channel, the command's end.
    for asked, answered in ((372, 100), (644, 28), (112, 440), (204, 72), (116, 124)):
        talk.ask(rng.randbytes(asked)).answer(rng.randbytes(answered))
    return talk.close().frames


def ssh_errands(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """Twin of the spread guessing: a deployment runs twenty commands on one host in a minute, the fourth key fits."""
    parts = [ssh_errand(rng, time_ns + number * 2 * SECOND, station(6), SERVER, keys=3) for number in range(20)]
    return merge(*parts)


def ssh_guessing(rng: Random, *, time_ns: int = START_NS, connections_count: int = 30, port: int = 22) -> list[Frame]:
    """:data:`GUESSER` opens a connection every two seconds, three passwords each, none right."""
    parts = [
        ssh_session(rng, time_ns + number * 2 * SECOND, GUESSER, SERVER, tries=3, is_in=False, port=port)
        for number in range(connections_count)
    ]
    return merge(*parts)


def unknown_port_guessing(rng: Random, *, time_ns: int = START_NS, connections_count: int = 60) -> list[Frame]:
    """A protocol that no parser knows, on port 7777: short connections of one shape, refused one after the other."""
    parts = []
    for number in range(connections_count):
        talk = Conversation(rng, time_ns + number * SECOND, GUESSER, SERVER, 7777).open()
        talk.answer(b"\x01\x00\x00\x10" + rng.randbytes(16)).ask(
            b"\x02\x00\x00\x20" + rng.randbytes(rng.randint(30, 34))
        )
        parts.append(talk.answer(b"\x03\xff\x00\x00").close().frames)
    return merge(*parts)


def ssh_work(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """Twin of the guessing over SSH: six administrators, one typing error, and a job that logs in every minute."""
    parts = []
    for number in range(6):
        moment = time_ns + number * 97 * SECOND
        parts.append(ssh_session(rng, moment, station(40 + number), SERVER, tries=1 + number // 5, is_in=True))
    for number in range(12):
        parts.append(ssh_session(rng, time_ns + number * 60 * SECOND, station(6), SERVER, tries=1, is_in=True))
    return merge(*parts)


def ftp_session(
    rng: Random, time_ns: int, client: Station, server: Station, attempts: list[tuple[str, bool]]
) -> list[Frame]:
    """One control connection; every attempt is a user and whether the password is right."""
    talk = Conversation(rng, time_ns, client, server, 21).open().answer(b"220 (vsFTPd 3.0.3)\r\n")
    for user, is_right in attempts:
        talk.ask(f"USER {user}\r\n".encode()).answer(b"331 Please specify the password.\r\n")
        talk.ask(b"PASS " + rng.randbytes(4).hex().encode() + b"\r\n").wait(500 * MILLISECOND)
        talk.answer(b"230 Login successful.\r\n" if is_right else b"530 Login incorrect.\r\n")
        if is_right:
            talk.ask(b"PWD\r\n").answer(b'257 "/srv" is the current directory\r\n').ask(b"QUIT\r\n")
            talk.answer(b"221 Goodbye.\r\n")
    return talk.close().frames


def ftp_guessing(rng: Random, *, time_ns: int = START_NS, connections_count: int = 30) -> list[Frame]:
    """:data:`GUESSER` tries names and passwords, two a connection."""
    parts = []
    for number in range(connections_count):
        attempts = [(rng.choice(("admin", "root", "ftp", "test")), False) for _ in range(2)]
        parts.append(ftp_session(rng, time_ns + number * 2 * SECOND, GUESSER, SERVER, attempts))
    return merge(*parts)


def ftp_work(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """Twin: a job uploads every two minutes, and a person errs once."""
    parts = [
        ftp_session(rng, time_ns + number * 120 * SECOND, station(7), SERVER, [("upload", True)])
        for number in range(20)
    ]
    parts.append(ftp_session(rng, time_ns + 100 * SECOND, station(42), SERVER, [("wang", False), ("wang", True)]))
    return merge(*parts)


def rdp_session(
    rng: Random, time_ns: int, client: Station, server: Station, *, cookie: str, is_in: bool
) -> list[Frame]:
    """Connection request with a cookie, confirm, TLS; then an early end, or a session. Source: MS-RDPBCGR 2.2.1."""
    request = f"Cookie: mstshash={cookie}\r\n".encode() + struct.pack("<BBHI", 1, 0, 8, 3)
    connect = struct.pack("!BBHHB", 6 + len(request), 0xE0, 0, 0, 0) + request
    confirm = struct.pack("!BBHHB", 14, 0xD0, 0, 0x1234, 0) + struct.pack("<BBHI", 2, 0, 8, 2)
    talk = Conversation(rng, time_ns, client, server, 3389, round_trip_ns=10 * MILLISECOND).open()
    talk.ask(_tpkt(connect)).answer(_tpkt(confirm))
    talk.ask(client_hello(rng, None, alpn=())).answer(server_flight(rng)).ask(sealed(rng, 256)).wait(200 * MILLISECOND)
    if not is_in:
        return talk.answer(sealed(rng, 26)).reset().frames
    for _ in range(60):
        talk.ask(sealed(rng, 64)).answer(sealed(rng, 1000)).wait(700 * MILLISECOND)
    return talk.close().frames


def rdp_guessing(rng: Random, *, time_ns: int = START_NS, connections_count: int = 40) -> list[Frame]:
    """:data:`GUESSER` opens a session every second and a half, and each ends before it begins."""
    parts = []
    for number in range(connections_count):
        moment = time_ns + number * 1500 * MILLISECOND
        parts.append(rdp_session(rng, moment, GUESSER, SERVER, cookie="administr", is_in=False))
    return merge(*parts)


def rdp_work(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """Twin: five people work for a while; one of them comes back twice."""
    parts = []
    for number in range(7):
        client = station(43 + number % 5)
        moment = time_ns + number * 50 * SECOND
        parts.append(rdp_session(rng, moment, client, SERVER, cookie=f"user{number % 5}", is_in=True))
    return merge(*parts)


def smb_guessing(rng: Random, *, time_ns: int = START_NS, connections_count: int = 40) -> list[Frame]:
    """An inside host tries passwords of one account over SMB; each is refused (STATUS_LOGON_FAILURE)."""
    parts = []
    for number in range(connections_count):
        talk = Conversation(rng, time_ns + number * SECOND, station(66), SERVER, 445).open()
        smb_login(rng, talk, user="administrator", domain="OFFICE", is_right=False)
        parts.append(talk.close().frames)
    return merge(*parts)


def smb_work(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """Twin: desktops open the file share; one person errs once."""
    parts = []
    for number in range(20):
        talk = Conversation(rng, time_ns + number * 20 * SECOND, station(40 + number), SERVER, 445).open()
        session = smb_login(rng, talk, user=f"user{number}", domain="OFFICE", is_right=number != 7)
        if number != 7:
            session.connect(r"\\FILES\office").open_file("plan.docx").read(rng.randbytes(3000))
        parts.append(talk.close().frames)
    return merge(*parts)


def http_guessing(rng: Random, *, time_ns: int = START_NS, attempts_count: int = 60) -> list[Frame]:
    """:data:`GUESSER` posts one password after the other to a log-in form, which answers 401, and tries basic
    authentication too."""
    parts = []
    for number in range(attempts_count):
        talk = Conversation(rng, time_ns + number * 500 * MILLISECOND, GUESSER, SERVER, 80).open()
        secret = rng.randbytes(5).hex()
        if number % 2:
            token = base64.b64encode(f"admin:{secret}".encode()).decode()
            head = f"GET /manage/ HTTP/1.1\r\nHost: oa.example.gov.cn\r\nAuthorization: Basic {token}\r\n\r\n"
            talk.ask(head.encode())
        else:
            talk.ask(http_post("/login", "oa.example.gov.cn", f"user=admin&password={secret}"))
        refused = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
        parts.append(talk.answer(refused).close().frames)
    return merge(*parts)


def http_work(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """Twin: people log in to the same form, rightly but for two, and read on."""
    parts = []
    for number in range(20):
        talk = Conversation(rng, time_ns + number * 15 * SECOND, station(40 + number), SERVER, 80).open()
        if number % 10 == 3:
            talk.ask(http_post("/login", "oa.example.gov.cn", "user=li&password=x")).answer(
                b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
            )
        talk.ask(http_post("/login", "oa.example.gov.cn", f"user=u{number}&password=y")).answer(
            b"HTTP/1.1 302 Found\r\nLocation: /home\r\nContent-Length: 0\r\n\r\n"
        )
        talk.ask(b"GET /home HTTP/1.1\r\nHost: oa.example.gov.cn\r\n\r\n")
        parts.append(talk.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").close().frames)
    return merge(*parts)


def http_post(path: str, host: str, body: str, *, agent: str = "Mozilla/5.0 (X11; Linux x86_64)") -> bytes:
    """A form that is sent."""
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\n"
    return f"{head}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()


def _tpkt(content: bytes) -> bytes:
    return struct.pack("!BBH", 3, 0, 4 + len(content)) + content
