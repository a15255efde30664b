"""What the dissector tells the detectors: one frozen value for each thing that a host said on the network.

One idea: a message is what was *said*, already parsed and bounded, with the time of the packet that completed it. It
judges nothing. Addresses and MACs are text in their usual form (``192.0.2.1``, ``2001:db8::1``, ``00:11:22:aa:bb:cc``);
all text is bounded, and bytes that are no text come escaped, so a message is safe to show.

Never in a message: passwords, cookies and tokens. Where one was sent, its field keeps the name of what was there, and
at most the shape of the value (:mod:`govsec.dissect.withhold`).

Two kinds of base: :class:`Message` has a time only, :class:`FlowMessage` belongs to a flow and says which way it went.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from govsec.crypto.certificates import CertificateFacts


@dataclass(frozen=True, slots=True)
class FlowRef:
    """The flow that a message travelled on. ``id`` 0: the flow table kept none (flood); the originator is then the
    sender of this packet."""

    id: int
    originator: str
    originator_port: int
    responder: str
    responder_port: int
    protocol: int
    vlan: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """Anything that was said. ``time_ns``: UTC, of the packet that completed it."""

    time_ns: int


@dataclass(frozen=True, slots=True)
class FlowMessage(Message):
    """Said on a flow; ``is_originator``: by its originator, to its responder."""

    flow: FlowRef
    is_originator: bool

    @property
    def sender(self) -> str:
        """The address of the host that said it."""
        return self.flow.originator if self.is_originator else self.flow.responder

    @property
    def receiver(self) -> str:
        """The address it was said to."""
        return self.flow.responder if self.is_originator else self.flow.originator


# The local link -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ArpMessage(Message):
    """ARP for IPv4 (RFC 826). ``operation``: 1 request, 2 reply, others as sent. ``mac_source`` and ``mac_target`` are
    those of the frame, and may belie the sender and target inside."""

    vlan: int
    operation: int
    sender_mac: str
    sender_address: str
    target_mac: str
    target_address: str
    mac_source: str
    mac_target: str


class RouterPrefix(NamedTuple):
    """A prefix that a router announces, as ``2001:db8::/64``; a ``valid_s`` of 0 withdraws it."""

    prefix: str
    valid_s: int
    preferred_s: int


@dataclass(frozen=True, slots=True)
class RouterAdvertisement(Message):
    """A router presents itself (RFC 4861, 4.2); ``lifetime_s`` 0: it is no default router any more.

    ``flags``: the byte as sent (0x80 managed, 0x40 other, 0x18 preference). ``hop_limit`` as received: honest ones
    have 255, anything less came through a router. ``mac``: the link-layer address inside, None when it has none.
    """

    vlan: int
    source: str
    mac_source: str
    mac: str | None
    lifetime_s: int
    flags: int
    hop_limit: int
    prefixes: tuple[RouterPrefix, ...]
    dns_servers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NeighborMessage(Message):
    """Neighbour discovery (RFC 4861). ``kind``: router_solicitation, solicitation, advertisement, redirect.

    ``target``: the address asked for, claimed or redirected to; ``mac``: the link-layer address inside (the sender's in
    a solicitation, the target's otherwise). ``flags``: first byte (0x80 router, 0x40 solicited, 0x20 override).
    """

    vlan: int
    kind: str
    source: str
    destination: str
    target: str
    mac: str | None
    mac_source: str
    flags: int
    hop_limit: int


@dataclass(frozen=True, slots=True)
class IcmpEcho(Message):
    """An echo request or reply, ICMP or ICMPv6. ``payload_digest``: 8 bytes that are equal when the payload is;
    ``entropy``: bits a byte over the captured payload (0 to 8; at most log2 of its size); ``size_bytes``: of the
    payload as claimed, without the ICMP header."""

    vlan: int
    source: str
    target: str
    is_reply: bool
    identifier: int
    sequence: int
    size_bytes: int
    payload_digest: bytes
    entropy: float


# Addresses and names --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DhcpMessage(FlowMessage):
    """DHCP for IPv4 (RFC 2131). ``kind``: discover, offer, request, decline, ack, nak, release, inform, or ``bootp``.

    ``is_reply``: it calls itself a server's. ``server``: option 54. ``offered``: yiaddr, ``requested``: option 50. An
    address that was not given is None. ``mac_source`` is the frame's, and may belie ``client_mac``.
    """

    kind: str
    is_reply: bool
    client_mac: str
    mac_source: str
    server: str | None
    offered: str | None
    requested: str | None
    relay: str | None
    transaction: int
    hostname: str | None
    vendor: str | None
    routers: tuple[str, ...]
    dns_servers: tuple[str, ...]
    lease_s: int | None


class DnsQuestion(NamedTuple):
    """``type`` is the mnemonic (``A``, ``NULL``), or ``TYPE65280``."""

    name: str
    type: str


class DnsAnswer(NamedTuple):
    """One record of the answer section. ``text``: the address, name or text in it, bounded; for types that are not read
    it is empty, and ``size_bytes`` (of the data) is all there is."""

    name: str
    type: str
    ttl_s: int
    text: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DnsMessage(FlowMessage):
    """One DNS message (RFC 1035). ``service``: dns, mdns, llmnr or nbns, by its port; NetBIOS names come decoded.

    Names are as sent (upper and lower case kept: tunnels use both) without the last dot, the root is ``.``; bytes that
    are not printable, and dots inside a label, are escaped as in zone files. ``rcode`` 3 is NXDOMAIN. ``size_bytes``:
    of the whole message.
    """

    service: str
    is_response: bool
    transaction: int
    opcode: int
    rcode: int
    is_truncated: bool
    questions: tuple[DnsQuestion, ...]
    answers: tuple[DnsAnswer, ...]
    size_bytes: int


# TLS ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TlsClientHello(FlowMessage):
    """``version``: the highest offered (0x0304 is TLS 1.3, 0x0101 TLCP of GB/T 38636). ``ja3``: MD5 in hex."""

    version: int
    server_name: str | None
    alpn: tuple[str, ...]
    ja3: str
    ja4: str
    is_quic: bool


@dataclass(frozen=True, slots=True)
class TlsServerHello(FlowMessage):
    """``version``: the one chosen; ``cipher``: the suite's number."""

    version: int
    cipher: int
    server_name: str | None


@dataclass(frozen=True, slots=True)
class TlsCertificates(FlowMessage):
    """The server's (``is_originator`` false) or client's chain, leaf first; TLCP: signing, then encryption leaf.

    ``server_name`` is what the client asked for on this flow. ``unreadable_count``: certificates that could not be
    read. TLS 1.3 hides certificates: there is none of these then.
    """

    version: int
    certificates: tuple[CertificateFacts, ...]
    unreadable_count: int
    server_name: str | None


@dataclass(frozen=True, slots=True)
class QuicInitial(FlowMessage):
    """The first long-header packet of a QUIC connection in its direction (RFC 9000)."""

    version: int
    target_connection: bytes
    source_connection: bytes


# Text protocols -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HttpRequest(FlowMessage):
    """One request. ``target`` as sent, not decoded; secrets in it and in ``body`` are reduced to their shape.

    ``headers``: names in lower case, in order. ``body``: its first bytes (chunks joined), ``body_size`` what was
    announced or seen. ``has_credentials``: an Authorization header or a password field was sent. ``is_whole``: false
    when the capture or a limit cut it.
    """

    method: str
    target: str
    host: str
    user_agent: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    body_size: int
    has_credentials: bool
    is_whole: bool


@dataclass(frozen=True, slots=True)
class HttpResponse(FlowMessage):
    """The answer to the request ``method target`` (empty when that was not seen); ``body``: its first bytes."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    body_size: int
    method: str
    target: str
    had_credentials: bool


@dataclass(frozen=True, slots=True)
class SshBanner(FlowMessage):
    """The first line that a side of SSH says (RFC 4253, 4.2)."""

    text: str


@dataclass(frozen=True, slots=True)
class SshKeyExchange(FlowMessage):
    """What a side offers: ``hassh`` of a client, the same over its own lists for a server (HASSHServer)."""

    hassh: str
    software: str


@dataclass(frozen=True, slots=True)
class SshAnswers(FlowMessage):
    """How a server of SSH answered after the key exchange, by the sizes of what it sealed; told once a flow.

    ``refused_count``: answers of one size (or two in turn) one after the other from the beginning, as refusals of
    log-ins are; the first may be to the question which ways to log in there are. ``later_count``: answers after them;
    a few come only when somebody got in.
    """

    refused_count: int
    later_count: int


@dataclass(frozen=True, slots=True)
class FtpCommand(FlowMessage):
    """``command`` in upper case; ``argument`` is empty for PASS and ACCT."""

    command: str
    argument: str


@dataclass(frozen=True, slots=True)
class FtpReply(FlowMessage):
    """The reply to ``command`` (empty: the greeting, or not seen)."""

    code: int
    text: str
    command: str


@dataclass(frozen=True, slots=True)
class LoginOutcome(FlowMessage):
    """A log-in was answered. ``service``: ftp, smtp, pop3, imap, smb, ldap, http. ``is_originator`` is true when the
    originator is the one who logged in. ``user`` is None when it was not in clear."""

    service: str
    user: str | None
    is_accepted: bool


# Windows protocols and directories ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SmbCommand(FlowMessage):
    """One command of SMB. ``dialect``: SMB1 or SMB2 (also for 3). ``command``: negotiate, session_setup, tree_connect,
    create, ioctl, write, read …; ``tree``: the share path (``\\\\HOST\\ADMIN$``), also on later commands in it;
    ``file_name``: of a create. ``status``: NT status, in responses."""

    dialect: str
    command: str
    tree: str | None
    file_name: str | None
    status: int | None
    is_response: bool


@dataclass(frozen=True, slots=True)
class NtlmMessage(FlowMessage):
    """``kind``: negotiate, challenge, authenticate. ``service``: what carried it (smb, http, dcerpc …). Hashes and
    responses are not kept; ``domain`` of a challenge is the server's target name."""

    kind: str
    service: str
    domain: str
    user: str
    workstation: str


@dataclass(frozen=True, slots=True)
class DceRpcBind(FlowMessage):
    """A client asks for an interface: its UUID in lower case. ``pipe``: the named pipe, empty over TCP."""

    interface: str
    version: int
    pipe: str


@dataclass(frozen=True, slots=True)
class DceRpcCall(FlowMessage):
    """One call or its answer. ``interface`` is None when the bind was not seen. ``status``: the last four bytes of an
    answer in clear, where Windows interfaces put their result. ``has_null_credential``: a Netlogon call whose challenge
    or credential is eight null bytes (CVE-2020-1472). ``name``: of the service that is created or started."""

    interface: str | None
    operation: int
    is_response: bool
    status: int | None
    has_null_credential: bool
    name: str | None
    pipe: str


@dataclass(frozen=True, slots=True)
class RdpRequest(FlowMessage):
    """The opening of RDP. ``user``: the name in the routing cookie (``mstshash``), often cut to nine characters by the
    client. ``protocols``: bits asked for (0 standard, 1 TLS, 2 CredSSP)."""

    user: str | None
    protocols: int


@dataclass(frozen=True, slots=True)
class RdpResponse(FlowMessage):
    """The server's choice: ``protocol`` as in :class:`RdpRequest`, or ``failure`` code; both None: an old server."""

    protocol: int | None
    failure: int | None


@dataclass(frozen=True, slots=True)
class LdapMessage(FlowMessage):
    """One LDAP operation (RFC 4511): bind_request, bind_response, search_request, search_entry, search_done …

    ``name``: the DN bound, searched or found; ``result``: of a response; ``attributes``: names of those in an entry.
    """

    operation: str
    name: str
    result: int | None
    attributes: tuple[str, ...]


# Faults ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProtocolError(Message):
    """What was taken for ``parser``'s protocol broke its rules. At most one a flow; ``flow`` is None on the link."""

    flow: FlowRef | None
    parser: str
    reason: str
    position: int
