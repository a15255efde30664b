"""An ordinary working day of an office and its servers: nothing in it is an attack, much of it looks like one.

People browse, write mail, open file shares and log in; machines ask for names and time, are monitored, back up, fetch
updates, keep connections open and chatter by multicast. Periodic, many-ported and voluminous traffic is meant: it is
what detectors must be silent on. The amount is set by ``hours`` and ``desktops_count``; about 1,200 packets a desktop
and hour.
"""

from __future__ import annotations

from random import Random

from govsec.testing.packets import (
    GATEWAY,
    MILLISECOND,
    SECOND,
    START_NS,
    Conversation,
    Frame,
    Station,
    echo_pair,
    merge,
    outside,
    packed,
    station,
    udp_exchange,
    udp_frame,
)
from govsec.testing.trafficlan import (
    ROUTER6,
    arp_reply,
    arp_request,
    dhcp_lease,
    neighbor_lookup,
    router_advertisement,
    station_link,
)
from govsec.testing.trafficlogins import ssh_session
from govsec.testing.trafficsmb import smb_login
from govsec.testing.traffictls import client_hello, sealed, server_flight
from govsec.testing.traffictunnels import dns_query, lookup

HOUR_S = 3600
FILES, BACKUP, DATABASE, MAIL, MONITOR, TIME = (station(number) for number in (21, 22, 23, 24, 5, 3))
_SITES = tuple(
    (f"{name}.example.{zone}", f"198.51.{100 + position}.{10 + position}")
    for position, (name, zone) in enumerate(
        (name, zone) for zone in ("gov.cn", "com", "edu.cn", "org") for name in ("www", "news", "mail", "video", "api")
    )
)


def office_day(rng: Random, *, time_ns: int = START_NS, hours: float = 1.0, desktops_count: int = 12) -> list[Frame]:
    """The whole: ``desktops_count`` people, a dozen servers, ``hours`` of it from ``time_ns`` on."""
    until_ns = time_ns + int(hours * HOUR_S) * SECOND
    desktops = [station(40 + number) for number in range(desktops_count)]
    parts = [person(rng, desktop, time_ns, until_ns) for desktop in desktops]
    parts += [machine_habits(rng, desktop, time_ns, until_ns) for desktop in desktops]
    parts += [
        monitoring(rng, time_ns, until_ns),
        servers(rng, time_ns, until_ns),
        cable(rng, desktops, time_ns, until_ns),
    ]
    return [frame for frame in merge(*parts) if frame.time_ns < until_ns]


def person(rng: Random, desktop: Station, time_ns: int, until_ns: int) -> list[Frame]:
    """Reads pages, gets mail, opens files, now and then logs in to a server; rests in between."""
    parts = []
    while time_ns < until_ns:
        time_ns += int(rng.expovariate(1 / 25) * SECOND)
        act = rng.random()
        if act < 0.7:
            parts.append(page(rng, desktop, time_ns))
        elif act < 0.85:
            parts.append(mail(rng, desktop, time_ns))
        elif act < 0.97:
            parts.append(file_share(rng, desktop, time_ns))
        else:
            is_sure = rng.random() < 0.8
            parts.append(ssh_session(rng, time_ns, desktop, FILES, tries=1 if is_sure else 2, is_in=True))
    return merge(*parts)


def page(rng: Random, desktop: Station, time_ns: int) -> list[Frame]:
    """A name is looked up, and one to four connections fetch a page over TLS."""
    name, address = rng.choice(_SITES)
    parts = [lookup(rng, time_ns, desktop, name, data=packed(address))]
    for lane in range(rng.randint(1, 4)):
        moment = time_ns + 20 * MILLISECOND + lane * rng.randint(1, 30) * MILLISECOND
        fetch = Conversation(rng, moment, desktop, outside(address), 443, round_trip_ns=30 * MILLISECOND).open()
        fetch.ask(client_hello(rng, name)).answer(server_flight(rng))
        for _ in range(rng.randint(1, 4)):
            fetch.ask(sealed(rng, rng.randint(100, 1500))).answer(
                sealed(rng, int(rng.paretovariate(1.2) * 1500) % 60_000)
            )
        parts.append(fetch.wait(rng.randint(1, 5000) * MILLISECOND).close().frames)
    return merge(*parts)


def mail(rng: Random, desktop: Station, time_ns: int) -> list[Frame]:
    """IMAP over TLS: a few letters come; sometimes one is sent."""
    talk = Conversation(rng, time_ns, desktop, MAIL, 993).open()
    talk.ask(client_hello(rng, "mail.example.gov.cn", alpn=())).answer(server_flight(rng))
    talk.ask(sealed(rng, 120)).answer(sealed(rng, rng.randint(300, 20_000)))
    frames = talk.close().frames
    if rng.random() < 0.3:
        send = Conversation(rng, time_ns + 3 * SECOND, desktop, MAIL, 587).open().answer(b"220 mail ESMTP\r\n")
        send.ask(b"EHLO pc\r\n").answer(b"250-mail\r\n250 STARTTLS\r\n").ask(b"STARTTLS\r\n").answer(b"220 go\r\n")
        send.ask(client_hello(rng, "mail.example.gov.cn", alpn=())).answer(server_flight(rng))
        frames = merge(frames, send.ask(sealed(rng, rng.randint(2000, 60_000))).answer(sealed(rng, 200)).close().frames)
    return frames


def file_share(rng: Random, desktop: Station, time_ns: int) -> list[Frame]:
    """A document is read from the share; one log-in in twenty fails first."""
    talk = Conversation(rng, time_ns, desktop, FILES, 445).open()
    session = smb_login(rng, talk, user=f"u{desktop.address.rpartition('.')[2]}", domain="OFFICE", is_right=True)
    session.connect(r"\\FILES\office").open_file(f"report{rng.randint(1, 99)}.docx").read(rng.randbytes(20_000))
    return talk.close().frames


def machine_habits(rng: Random, desktop: Station, time_ns: int, until_ns: int) -> list[Frame]:
    """What a desktop does by itself: time, an update check every twenty minutes, a messenger's open line, multicast."""
    start = time_ns + rng.randint(0, 600) * SECOND
    parts = [dhcp_lease(rng, time_ns + rng.randint(0, 300) * SECOND, desktop.mac, desktop.address)]
    for moment in range(start, until_ns, 1024 * SECOND):
        request = b"\x23\x00\x06\xec" + bytes(44)
        parts.append(udp_exchange(moment, desktop, 123, TIME, 123, request, b"\x24\x02\x06\xec" + rng.randbytes(44)))
    for moment in range(start, until_ns, 1200 * SECOND):
        check = Conversation(rng, moment + rng.randint(0, 60) * SECOND, desktop, outside("198.51.120.7"), 443).open()
        check.ask(client_hello(rng, "updates.example.com")).answer(server_flight(rng))
        parts.append(check.ask(sealed(rng, 400)).answer(sealed(rng, 900)).close().frames)
    line = Conversation(rng, start, desktop, outside("198.51.121.9"), 443).open()
    line.ask(client_hello(rng, "im.example.com")).answer(server_flight(rng))
    while line.time_ns < until_ns:
        line.ask(sealed(rng, 40)).answer(sealed(rng, 40)).wait(55 * SECOND)
    parts.append(line.frames)
    group = Station("224.0.0.251", "01:00:5e:00:00:fb")
    question = dns_query(0, "_ipp._tcp.local", 12)
    parts.append(
        [
            Frame(moment, udp_frame(desktop, 5353, group, 5353, question))
            for moment in range(start, until_ns, 600 * SECOND)
        ]
    )
    return merge(*parts)


def monitoring(rng: Random, time_ns: int, until_ns: int) -> list[Frame]:
    """Every minute: pings and open ports of all servers; every 30 seconds a page of figures."""
    parts = []
    payload = bytes(range(48))
    watched = (FILES, BACKUP, DATABASE, MAIL, TIME)
    for number, minute in enumerate(range(time_ns, until_ns, 60 * SECOND)):
        for position, server in enumerate(watched):
            moment = minute + position * 300 * MILLISECOND
            parts.append(echo_pair(moment, MONITOR, server, 700 + position, number, payload, payload))
            for port in (22, 25 if server is MAIL else 80):
                moment += 50 * MILLISECOND
                parts.append(
                    Conversation(rng, moment, MONITOR, server, port).open().answer(b"hello\r\n").close().frames
                )
        for half in (0, 30):
            fetch = Conversation(rng, minute + half * SECOND + 5 * SECOND, MONITOR, DATABASE, 9100).open()
            fetch.ask(b"GET /metrics HTTP/1.1\r\nHost: db:9100\r\nUser-Agent: Prometheus/2.53\r\n\r\n")
            body = b"# HELP x\n" * 300
            fetch.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            parts.append(fetch.close().frames)
    return merge(*parts)


def servers(rng: Random, time_ns: int, until_ns: int) -> list[Frame]:
    """Queries to the database, copies to the backup every ten minutes, mail from outside, visitors of the web site."""
    parts = []
    for moment in range(time_ns, until_ns, 10 * SECOND):
        talk = Conversation(rng, moment + rng.randint(0, 4000) * MILLISECOND, station(80), DATABASE, 5432).open()
        for _ in range(3):
            talk.ask(rng.randbytes(120)).answer(rng.randbytes(rng.randint(100, 4000)))
        parts.append(talk.close().frames)
    for moment in range(time_ns + 60 * SECOND, until_ns, 600 * SECOND):
        copy = Conversation(rng, moment, FILES, BACKUP, 8000).open().ask(client_hello(rng, "backup.example.gov.cn"))
        copy.answer(server_flight(rng)).ask(sealed(rng, rng.randint(200, 800) << 10)).answer(sealed(rng, 300))
        parts.append(copy.close().frames)
    while time_ns < until_ns:
        time_ns += int(rng.expovariate(1 / 4) * SECOND)
        visitor = outside(f"{rng.randint(36, 60)}.{rng.randint(1, 250)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}")
        if rng.random() < 0.1:
            letter = Conversation(rng, time_ns, visitor, MAIL, 25, round_trip_ns=30 * MILLISECOND).open()
            letter.answer(b"220 mail ESMTP\r\n").ask(b"EHLO mx.example.com\r\n").answer(b"250 mail\r\n")
            letter.ask(b"MAIL FROM:<a@example.com>\r\n").answer(b"250 ok\r\n").ask(b"RCPT TO:<b@example.gov.cn>\r\n")
            letter.answer(b"250 ok\r\n").ask(b"DATA\r\n").answer(b"354 go\r\n").ask(b"Subject: x\r\n\r\nhello\r\n.\r\n")
            parts.append(letter.answer(b"250 queued\r\n").ask(b"QUIT\r\n").answer(b"221 bye\r\n").close().frames)
        else:
            visit = Conversation(rng, time_ns, visitor, station(80), 443, round_trip_ns=40 * MILLISECOND).open()
            visit.ask(client_hello(rng, "www.example.gov.cn")).answer(server_flight(rng))
            parts.append(visit.ask(sealed(rng, 600)).answer(sealed(rng, rng.randint(1000, 12_000))).close().frames)
    return merge(*parts)


def cable(rng: Random, desktops: list[Station], time_ns: int, until_ns: int) -> list[Frame]:
    """ARP of those who talk, one router's advertisements, neighbours found."""
    frames = []
    for moment in range(time_ns, until_ns, 300 * SECOND):
        for position, desktop in enumerate(desktops):
            at = moment + position * 7 * SECOND + rng.randint(0, SECOND)
            frames += [arp_request(at, desktop, GATEWAY.address)]
            frames += [arp_reply(at + MILLISECOND, GATEWAY.address, GATEWAY.mac, desktop)]
    for number, moment in enumerate(range(time_ns, until_ns, 400 * SECOND)):
        frames.append(router_advertisement(moment, ROUTER6))
        frames += neighbor_lookup(moment + SECOND, station_link(40 + number % 20), ROUTER6)
    return merge(frames)
