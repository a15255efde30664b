"""The process in which scapy reads hostile packets: little memory, little time, no files, no sockets, no user's rights.

Started by :mod:`govsec.net.explain` as a script of its own. It reads one packet a line from standard input and answers
each with a line on standard output, JSON both::

    {"link_type": number, "data": hex}
    {"layers": [{"name": …, "size": bytes, "fields": [[name, value], …]}, …], "notes": [[code, {name: text}], …]}

``notes`` name what the packet does, for words in the catalogue of messages. Whatever scapy makes of a packet, and
whatever it raises, is this process's business: it may die, and the parent says at which packet. It imports nothing of
govsec.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any, TypeAlias

try:
    from scapy.config import conf
    from scapy.fields import ConditionalField
    from scapy.layers import dcerpc, dhcp, dhcp6, dns, http, inet, inet6, l2, ldap, ntp, smb2, vxlan  # noqa: F401
    from scapy.layers.tls import handshake, record
    from scapy.packet import NoPayload, Packet, Padding, Raw
except ImportError:
    sys.exit(3)

#: Address space. Scapy with these layers takes a sixth of it.
MEMORY_MAX = 512 << 20
#: Processor time for all packets of one call.
CPU_S = 10
_NOBODY = 65_534
_LAYERS_MAX = 40
_FIELDS_MAX = 60
_VALUE_MAX = 300
_NAMES_MAX = 5

Note: TypeAlias = tuple[str, dict[str, str]]


def main() -> None:
    """Serve packets until standard input ends."""
    # Scapy loads and looks up more on first use, which it could not do later.
    for words in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"):
        http.HTTP(words)
    _limit()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        packet = _dissect(int(request["link_type"]), bytes.fromhex(request["data"]))
        layers = list(_layers(packet))
        answer = {"layers": [_shown(layer) for layer in layers], "notes": list(_notes(packet))}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


def _limit() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        resource.setrlimit(limit, (0, 0))
    # No file or socket can be opened from here on.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _dissect(link_type: int, data: bytes) -> Packet:
    return conf.l2types.num2layer.get(link_type, Raw)(data)


def _layers(packet: Packet) -> Iterator[Packet]:
    layer = packet
    for _ in range(_LAYERS_MAX):
        if isinstance(layer, NoPayload) or layer is None:
            return
        yield layer
        layer = layer.payload


def _shown(layer: Packet) -> dict[str, Any]:
    fields = []
    for field in layer.fields_desc[:_FIELDS_MAX]:
        if isinstance(field, ConditionalField) and not field._evalcond(layer):
            continue
        value = layer.getfieldval(field.name)
        if isinstance(layer, (Raw, Padding)):
            fields.append((field.name, f"{len(value)} bytes"))
        else:
            fields.append((field.name, str(field.i2repr(layer, value))[:_VALUE_MAX]))
    return {"name": layer.name, "size": len(layer.original) or len(layer), "fields": fields}


def _notes(packet: Packet) -> Iterator[Note]:
    for layer in _layers(packet):
        for kind, notes in _NOTES.items():
            if type(layer) is kind:
                yield from notes(packet, layer)


def _ends(packet: Packet) -> dict[str, str]:
    network = packet.getlayer(inet.IP) or packet.getlayer(inet6.IPv6)
    return {"source": str(network.src), "target": str(network.dst)} if network is not None else {}


def _arp(_: Packet, layer: Packet) -> Iterator[Note]:
    values = {"sender": str(layer.psrc), "mac": str(layer.hwsrc), "wanted": str(layer.pdst)}
    if layer.psrc == layer.pdst:
        yield "arp.announcement", values
    elif layer.op == 1:
        yield "arp.request", values
    elif layer.op == 2:
        yield "arp.reply", values


def _ipv4(_: Packet, layer: Packet) -> Iterator[Note]:
    if layer.frag or layer.flags.MF:
        yield "ip.fragment", {"offset": str(layer.frag * 8)}
    if layer.ttl <= 1:
        yield "ip.last_hop", {"ttl": str(layer.ttl)}


def _tcp(packet: Packet, layer: Packet) -> Iterator[Note]:
    values = {**_ends(packet), "source_port": str(layer.sport), "target_port": str(layer.dport)}
    flags = layer.flags
    size = sum(len(each.load) for each in _layers(layer) if isinstance(each, Raw)) or len(layer.payload)
    if flags.S:
        yield ("tcp.accepted" if flags.A else "tcp.opening"), values
    elif flags.R:
        yield "tcp.reset", values
    elif flags.F:
        yield "tcp.closing", values
    elif isinstance(layer.payload, (NoPayload, Padding)):
        yield "tcp.acknowledged", values
    else:
        yield "tcp.data", {**values, "size": str(size)}


def _udp(packet: Packet, layer: Packet) -> Iterator[Note]:
    values = {**_ends(packet), "source_port": str(layer.sport), "target_port": str(layer.dport)}
    yield "udp.data", {**values, "size": str(max(0, layer.len - 8))}


def _icmp(packet: Packet, layer: Packet) -> Iterator[Note]:
    codes = {0: "icmp.reply", 8: "icmp.echo", 3: "icmp.unreachable", 5: "icmp.redirect", 11: "icmp.exceeded"}
    if layer.type in codes:
        yield codes[layer.type], {**_ends(packet), "size": str(len(layer.payload))}


def _icmp6(code: str) -> Any:
    def notes(packet: Packet, layer: Packet) -> Iterator[Note]:
        values = {**_ends(packet), "size": str(len(layer.payload)), "wanted": str(getattr(layer, "tgt", ""))}
        yield code, {**values, "lifetime": str(getattr(layer, "routerlifetime", ""))}

    return notes


def _dns(packet: Packet, layer: Packet) -> Iterator[Note]:
    questions = layer.qd[:_NAMES_MAX] if layer.qd else []
    names = ", ".join(each.qname.decode(errors="replace").rstrip(".") for each in questions)
    values = {**_ends(packet), "names": names[:_VALUE_MAX], "answers": str(layer.ancount)}
    if layer.qr == 0:
        yield "dns.question", values
    elif layer.rcode == 3:
        yield "dns.missing", values
    else:
        yield "dns.answer", values


def _dhcp(packet: Packet, layer: Packet) -> Iterator[Note]:
    kinds = {1: "discover", 2: "offer", 3: "request", 4: "decline", 5: "ack", 6: "nak", 7: "release", 8: "inform"}
    options: dict[str, Any] = dict(
        option[:2] for option in layer.options if isinstance(option, tuple) and len(option) >= 2
    )
    offered = packet.getlayer(dhcp.BOOTP)
    values = {**_ends(packet), "address": str(offered.yiaddr) if offered is not None else ""}
    kind = kinds.get(options.get("message-type", 0))
    if kind:
        yield f"dhcp.{kind}", values


def _tls(_: Packet, layer: Packet) -> Iterator[Note]:
    for message in layer.msg[:_NAMES_MAX]:
        if isinstance(message, handshake.TLSClientHello):
            names = [each for each in message.ext or [] if hasattr(each, "servernames")]
            shown = [name.servername.decode(errors="replace") for each in names for name in each.servernames]
            yield "tls.hello", {"name": ", ".join(shown)[:_VALUE_MAX]}
        elif isinstance(message, handshake.TLSServerHello):
            yield "tls.answer", {}
        elif isinstance(message, handshake.TLSCertificate):
            yield "tls.certificate", {"count": str(len(message.certs))}
    if layer.type == 23:
        yield "tls.sealed", {"size": str(layer.len)}
    elif layer.type == 21:
        yield "tls.alert", {}


def _http_request(_: Packet, layer: Packet) -> Iterator[Note]:
    def said(value: bytes | None) -> str:
        return (value or b"").decode(errors="replace")[:_VALUE_MAX]

    yield "http.request", {"method": said(layer.Method), "path": said(layer.Path), "host": said(layer.Host)}


def _http_response(_: Packet, layer: Packet) -> Iterator[Note]:
    yield "http.response", {"status": (layer.Status_Code or b"").decode(errors="replace")}


def _smb2(_: Packet, layer: Packet) -> Iterator[Note]:
    command = layer.get_field("Command").i2repr(layer, layer.Command)
    yield ("smb.response" if int(layer.Flags) & 1 else "smb.request"), {"command": str(command)}


def _raw(_: Packet, layer: Packet) -> Iterator[Note]:
    data = bytes(layer.load)
    is_text = sum(32 <= byte < 127 or byte in (9, 10, 13) for byte in data) > 0.9 * len(data)
    yield ("payload.text" if is_text else "payload.binary"), {"size": str(len(data))}


_NOTES: dict[type[Packet], Any] = {
    l2.ARP: _arp,
    inet.IP: _ipv4,
    inet.TCP: _tcp,
    inet.UDP: _udp,
    inet.ICMP: _icmp,
    inet6.ICMPv6EchoRequest: _icmp6("icmp.echo"),
    inet6.ICMPv6EchoReply: _icmp6("icmp.reply"),
    inet6.ICMPv6ND_RA: _icmp6("nd.router"),
    inet6.ICMPv6ND_NS: _icmp6("nd.question"),
    inet6.ICMPv6ND_NA: _icmp6("nd.answer"),
    dns.DNS: _dns,
    dhcp.DHCP: _dhcp,
    record.TLS: _tls,
    http.HTTPRequest: _http_request,
    http.HTTPResponse: _http_response,
    smb2.SMB2_Header: _smb2,
    Raw: _raw,
}

if __name__ == "__main__":
    main()
