"""SMB 2 with NTLM and DCE/RPC inside, as far as a sensor reads it; lateral movement and its benign twins.

Source: MS-SMB2 section 2.2 (headers and commands), MS-NLMP section 2.2.1 (NTLM messages), C706 chapter 12 (bind and
request of DCE/RPC), MS-SCMR (service control), MS-NRPC (Netlogon).
"""

from __future__ import annotations

import struct
from random import Random
from uuid import UUID

from govsec.testing.packets import MILLISECOND, SECOND, START_NS, Conversation, Frame, merge, station

NEGOTIATE, SESSION_SETUP, TREE_CONNECT, CREATE, CLOSE, READ, WRITE, IOCTL = 0, 1, 3, 5, 6, 8, 9, 11
STATUS_OK, STATUS_MORE, STATUS_LOGON_FAILURE = 0, 0xC0000016, 0xC000006D
SVCCTL = UUID("367abb81-9844-35f1-ad32-98f038001003")
NETLOGON = UUID("12345678-1234-abcd-ef00-01234567cffb")
SRVSVC = UUID("4b324fc8-1670-01d3-1278-5a47bf6ee188")
_NDR = UUID("8a885d04-1ceb-11c9-9fe8-08002b104860")
_OPEN_MANAGER, _CREATE_SERVICE, _START_SERVICE = 15, 12, 19
_REQUEST_CHALLENGE, _AUTHENTICATE3 = 4, 26
_ACCESS_DENIED = 0xC0000022
INTRUDER = station(66)
DOMAIN_CONTROLLER = station(4)


def ntlm_negotiate() -> bytes:
    """NEGOTIATE_MESSAGE."""
    return b"NTLMSSP\0" + struct.pack("<II", 1, 0xE2088297) + bytes(16) + b"\x0a\x00\x63\x45\x00\x00\x00\x0f"


def ntlm_challenge(rng: Random, domain: str) -> bytes:
    """CHALLENGE_MESSAGE."""
    name = domain.encode("utf-16-le")
    target = struct.pack("<HHI", len(name), len(name), 56)
    info = struct.pack("<HHI", 4, 4, 56 + len(name))
    head = b"NTLMSSP\0" + struct.pack("<I", 2) + target + struct.pack("<I", 0xE2898215) + rng.randbytes(8) + bytes(8)
    return head + info + b"\x0a\x00\x63\x45\x00\x00\x00\x0f" + name + bytes(4)


def ntlm_authenticate(rng: Random, user: str, domain: str, workstation: str) -> bytes:
    """AUTHENTICATE_MESSAGE with an answer that means nothing."""
    texts = [domain.encode("utf-16-le"), user.encode("utf-16-le"), workstation.encode("utf-16-le")]
    answers = [bytes(24), rng.randbytes(16) + b"\x01\x01" + bytes(42)]
    offset, fields, data = 72, {}, b""
    for name, content in zip(("domain", "user", "host", "lm", "nt"), [*texts, *answers], strict=True):
        fields[name] = struct.pack("<HHI", len(content), len(content), offset + len(data))
        data += content
    fields["key"] = struct.pack("<HHI", 0, 0, offset + len(data))
    order = (fields[name] for name in ("lm", "nt", "domain", "user", "host", "key"))
    head = b"NTLMSSP\0" + struct.pack("<I", 3) + b"".join(order) + struct.pack("<I", 0xE2888215)
    return head + b"\x0a\x00\x63\x45\x00\x00\x00\x0f" + data


class SmbSession:
    """One connection's dialogue; each step is a request and its response, and returns the session."""

    def __init__(self, rng: Random, talk: Conversation) -> None:
        self._rng = rng
        self._talk = talk
        self._number = 0
        self._session = rng.getrandbits(48)

    def step(self, command: int, request: bytes, response: bytes, status: int = STATUS_OK) -> SmbSession:
        """Send and answer one command."""
        self._talk.ask(self._message(command, request, 0, 0)).answer(self._message(command, response, 1, status))
        self._number += 1
        return self

    def connect(self, share: str) -> SmbSession:
        """TREE_CONNECT to ``\\\\SERVER\\share``."""
        path = share.encode("utf-16-le")
        kind = 2 if share.endswith("IPC$") else 1
        request = struct.pack("<HHHH", 9, 0, 72, len(path)) + path
        return self.step(TREE_CONNECT, request, struct.pack("<HBBIII", 16, kind, 0, 0, 0, 0x1F01FF))

    def open_file(self, name: str) -> SmbSession:
        """CREATE of a file or pipe."""
        path = name.encode("utf-16-le")
        request = struct.pack("<HBBIQQIIIII", 57, 0, 0, 2, 0, 0, 0x12019F, 0x80, 7, 1, 0x40)
        request += struct.pack("<HHII", 64 + 56, len(path), 0, 0) + path
        response = struct.pack("<HBBI", 89, 0, 0, 1) + bytes(56) + self._rng.randbytes(16) + bytes(8)
        return self.step(CREATE, request, response)

    def read(self, data: bytes) -> SmbSession:
        """READ that gives ``data``."""
        request = struct.pack("<HBBIQ", 49, 80, 0, len(data), 0) + bytes(16) + struct.pack("<IIIHH", 0, 0, 0, 0, 0)
        return self.step(READ, request + b"\0", struct.pack("<HBBIII", 17, 80, 0, len(data), 0, 0) + data)

    def write(self, data: bytes) -> SmbSession:
        """WRITE of ``data``."""
        request = struct.pack("<HHIQ", 49, 112, len(data), 0) + bytes(16) + struct.pack("<IIHHI", 0, 0, 0, 0, 0)
        return self.step(WRITE, request + data, struct.pack("<HHIIHH", 17, 0, len(data), 0, 0, 0) + b"\0")

    def call_pipe(self, request: bytes, response: bytes) -> SmbSession:
        """FSCTL_PIPE_TRANSCEIVE: one DCE/RPC message and its answer."""
        head = struct.pack("<HHI", 57, 0, 0x0011C017) + bytes(16)
        ask = head + struct.pack("<IIIIIIII", 120, len(request), 0, 0, 0, 1024, 1, 0) + request
        head = struct.pack("<HHI", 49, 0, 0x0011C017) + bytes(16)
        return self.step(IOCTL, ask, head + struct.pack("<IIIIII", 112, 0, 112, len(response), 0, 0) + response)

    def _message(self, command: int, body: bytes, flags: int, status: int) -> bytes:
        head = b"\xfeSMB" + struct.pack("<HHIHHII", 64, 1, status, command, 1, flags, 0)
        head += struct.pack("<QIIQ", self._number, 0xFEFF, 5, self._session if self._number else 0) + bytes(16)
        return struct.pack("!I", len(head) + len(body)) + head + body


def smb_login(rng: Random, talk: Conversation, *, user: str, domain: str, is_right: bool) -> SmbSession:
    """NEGOTIATE and the two rounds of SESSION_SETUP."""
    session = SmbSession(rng, talk)
    dialects = struct.pack("<4H", 0x0202, 0x0210, 0x0300, 0x0302)
    request = struct.pack("<HHHHI", 36, 4, 1, 0, 0x7F) + rng.randbytes(16) + bytes(8) + dialects
    response = (
        struct.pack("<HHHH", 65, 1, 0x0302, 0)
        + rng.randbytes(16)
        + struct.pack("<IIII", 0x2F, 1 << 20, 1 << 20, 1 << 20)
    )
    response += bytes(16) + struct.pack("<HHI", 128, 0, 0)
    session.step(NEGOTIATE, request, response)
    challenge = ntlm_challenge(rng, domain)
    session.step(SESSION_SETUP, _setup(ntlm_negotiate()), _setup_answer(challenge), STATUS_MORE)
    final = ntlm_authenticate(rng, user, domain, "DESKTOP7")
    status = STATUS_OK if is_right else STATUS_LOGON_FAILURE
    return session.step(
        SESSION_SETUP, _setup(final), _setup_answer(b"") if is_right else b"\x09\0\0\0\0\0\0\0\0", status
    )


def _setup(token: bytes) -> bytes:
    return struct.pack("<HBBIIHHQ", 25, 0, 1, 1, 0, 88, len(token), 0) + token


def _setup_answer(token: bytes) -> bytes:
    return struct.pack("<HHHH", 9, 0, 72, len(token)) + token


def rpc_bind(interface: UUID, version: int) -> bytes:
    """bind with one context."""
    body = struct.pack("<HHIB3x", 4280, 4280, 0, 1) + struct.pack("<HBx", 0, 1)
    body += interface.bytes_le + struct.pack("<I", version) + _NDR.bytes_le + struct.pack("<I", 2)
    return _rpc(11, body, 1)


def rpc_bind_ack() -> bytes:
    """bind_ack that accepts."""
    body = struct.pack("<HHIH", 4280, 4280, 0x1234, 13) + b"\\PIPE\\svcctl\0\0" + struct.pack("<B3x", 1)
    return _rpc(12, body + struct.pack("<HH", 0, 0) + _NDR.bytes_le + struct.pack("<I", 2), 1)


def rpc_request(operation: int, stub: bytes, number: int) -> bytes:
    """request ``operation`` of the bound interface."""
    return _rpc(0, struct.pack("<IHH", len(stub), 0, operation) + stub, number)


def rpc_response(stub: bytes, number: int) -> bytes:
    """response; the last four bytes of ``stub`` are the status by custom."""
    return _rpc(2, struct.pack("<IHBx", len(stub), 0, 0) + stub, number)


def _rpc(kind: int, body: bytes, number: int) -> bytes:
    return struct.pack("<BBBBIHHI", 5, 0, kind, 3, 0x10, 16 + len(body), 0, number) + body


def _text(text: str) -> bytes:
    """A conformant varying string of 16 bit characters, with its end; what follows must be aligned."""
    count = len(text) + 1
    return struct.pack("<III", count, 0, count) + (text + "\0").encode("utf-16-le")


def _aligned(data: bytes) -> bytes:
    return data.ljust((len(data) + 3) // 4 * 4, b"\0")


def _named(server: str, name: str) -> bytes:
    """A pointer to the server's name, and a name."""
    return struct.pack("<I", 0x20000) + _aligned(_text(server)) + _text(name)


def _credentials(account: str, channel: int, computer: str, credential: bytes) -> bytes:
    """Arguments of NetrServerAuthenticate3."""
    head = _aligned(_named(r"\\DC1", account) + struct.pack("<H", channel))
    return head + _aligned(_text(computer)) + credential + struct.pack("<I", 0x212FFFFF)


def admin_shares(rng: Random, *, time_ns: int = START_NS, hosts_count: int = 8) -> list[Frame]:
    """:data:`INTRUDER` opens ADMIN$ and C$ on one host after the other and leaves a program there."""
    parts = []
    for number in range(hosts_count):
        host = station(110 + number)
        talk = Conversation(rng, time_ns + number * 20 * SECOND, INTRUDER, host, 445).open()
        session = smb_login(rng, talk, user="administrator", domain="OFFICE", is_right=True)
        share = "ADMIN$" if number % 2 == 0 else "C$"
        session.connect(rf"\\{host.address}\{share}").open_file(r"Temp\kx81.exe").write(b"MZ" + rng.randbytes(1200))
        parts.append(talk.close().frames)
    return merge(*parts)


def service_creation(rng: Random, *, time_ns: int = START_NS, hosts_count: int = 3) -> list[Frame]:
    """:data:`INTRUDER` creates and starts a service over the pipe svcctl, as PsExec does."""
    parts = []
    for number in range(hosts_count):
        host = station(120 + number)
        talk = Conversation(rng, time_ns + number * 15 * SECOND, INTRUDER, host, 445).open()
        session = smb_login(rng, talk, user="administrator", domain="OFFICE", is_right=True)
        session.connect(rf"\\{host.address}\IPC$").open_file("svcctl").call_pipe(rpc_bind(SVCCTL, 2), rpc_bind_ack())
        handle = bytes(4) + rng.randbytes(16)
        manager = struct.pack("<I", 0x20000) + _aligned(_text(host.address)) + struct.pack("<II", 0, 0xF003F)
        create = handle + _aligned(_text("KX81SVC")) + struct.pack("<I", 0x20004) + _aligned(_text("KX81SVC"))
        create += struct.pack("<IIII", 0xF01FF, 0x10, 3, 0) + _aligned(_text(r"%SystemRoot%\kx81.exe")) + bytes(28)
        calls = (
            (_OPEN_MANAGER, manager, handle + bytes(4)),
            (_CREATE_SERVICE, create, bytes(4) + handle + bytes(4)),
            (_START_SERVICE, handle + bytes(8), bytes(4)),
        )
        for call, (operation, stub, answer) in enumerate(calls, 2):
            session.call_pipe(rpc_request(operation, stub, call), rpc_response(answer, call))
        parts.append(talk.close().frames)
    return merge(*parts)


def netlogon_abuse(rng: Random, *, time_ns: int = START_NS, attempts_count: int = 300) -> list[Frame]:
    """Netlogon asked to believe eight zero bytes, again and again, until it does (CVE-2020-1472)."""
    talk = Conversation(rng, time_ns, INTRUDER, DOMAIN_CONTROLLER, 49667, round_trip_ns=MILLISECOND).open()
    talk.ask(rpc_bind(NETLOGON, 1)).answer(rpc_bind_ack())
    names = _aligned(_named(r"\\DC1", "DC1"))
    account = _credentials("DC1$", 6, "DC1", bytes(8))
    for number in range(attempts_count):
        last = number == attempts_count - 1
        call = 2 + 2 * number
        talk.ask(rpc_request(_REQUEST_CHALLENGE, names + bytes(8), call))
        talk.answer(rpc_response(rng.randbytes(8) + bytes(4), call))
        talk.ask(rpc_request(_AUTHENTICATE3, account, call + 1))
        status = 0 if last else _ACCESS_DENIED
        talk.answer(rpc_response(bytes(8) + struct.pack("<III", 0x212FFFFF, 0, status), call + 1))
    return talk.close().frames


def domain_routine(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """Twin of the lateral movement: desktops list shares over IPC$ and join by Netlogon once each; file shares by name;
    one administrator opens C$ of one server."""
    parts = []
    for number in range(12):
        client = station(40 + number)
        talk = Conversation(rng, time_ns + number * 30 * SECOND, client, DOMAIN_CONTROLLER, 49667).open()
        talk.ask(rpc_bind(NETLOGON, 1)).answer(rpc_bind_ack())
        names = _aligned(_named(r"\\DC1", f"PC{number}"))
        talk.ask(rpc_request(_REQUEST_CHALLENGE, names + rng.randbytes(8), 2))
        talk.answer(rpc_response(rng.randbytes(8) + bytes(4), 2))
        account = _credentials(f"PC{number}$", 2, f"PC{number}", rng.randbytes(8))
        talk.ask(rpc_request(_AUTHENTICATE3, account, 3))
        talk.answer(rpc_response(rng.randbytes(8) + struct.pack("<III", 0x212FFFFF, 0, 0), 3))
        parts.append(talk.close().frames)
        talk = Conversation(rng, time_ns + (number * 30 + 7) * SECOND, client, station(21), 445).open()
        session = smb_login(rng, talk, user=f"user{number}", domain="OFFICE", is_right=True)
        session.connect(r"\\FILES\IPC$").open_file("srvsvc").call_pipe(rpc_bind(SRVSVC, 3), rpc_bind_ack())
        session.connect(r"\\FILES\office").open_file("minutes.docx").read(rng.randbytes(2000))
        parts.append(talk.close().frames)
    talk = Conversation(rng, time_ns + 400 * SECOND, station(8), station(21), 445).open()
    smb_login(rng, talk, user="admin-zhang", domain="OFFICE", is_right=True).connect(r"\\FILES\C$").open_file("logs")
    return merge(*parts, talk.close().frames)
