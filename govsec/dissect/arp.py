"""ARP for IPv4 on Ethernet (RFC 826).

::

    hardware (2) = 1 || protocol (2) = 0x0800 || sizes (1, 1) = 6, 4 || operation (2)
    || sender mac (6) || sender address (4) || target mac (6) || target address (4)
"""

from __future__ import annotations

from govsec.dissect.messages import ArpMessage
from govsec.dissect.wire import ipv4_text, mac_text
from govsec.errors import FormatError

_SIZE = 28
_HEAD = bytes.fromhex("000108000604")


def read_arp(data: bytes, *, time_ns: int, vlan: int, mac_source: str, mac_target: str) -> ArpMessage:
    """One ARP packet, from its own header on (padding may follow).

    Raises:
        FormatError: it is cut off, or not for IPv4 on Ethernet.
    """
    if len(data) < _SIZE:
        raise FormatError(f"ARP of {len(data)} bytes, expected {_SIZE}")
    if data[:6] != _HEAD:
        raise FormatError("ARP that is not for IPv4 on Ethernet")
    return ArpMessage(
        time_ns=time_ns,
        vlan=vlan,
        operation=data[6] << 8 | data[7],
        sender_mac=mac_text(data[8:14]),
        sender_address=ipv4_text(data[14:18]),
        target_mac=mac_text(data[18:24]),
        target_address=ipv4_text(data[24:28]),
        mac_source=mac_source,
        mac_target=mac_target,
    )
