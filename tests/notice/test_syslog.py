"""Syslog before a collector that checks every byte, before one that dies, and before Debian's rsyslog."""

from __future__ import annotations

import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from govsec.notice.api import DeliveryError, ReceiptState
from govsec.notice.channels.syslog import Syslog
from govsec.notice.outbox import Outbox
from govsec.notice.sender import Sender
from govsec.notice.words import english
from govsec.records import Notice, Severity
from govsec.testing.clock import FakeClock
from tests.notice.collector import collector, parsed
from tests.notice.far import LOOPBACK
from tests.support.authority import Authority
from tests.support.require import missing, require

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)
HOSTILE = "a|b\\|c=d\\=e\nf\r\n<13>1 2026-01-01T00:00:00Z x y - - - cs9=forged\x1b[2J\u202e\0\u2028 externalId=other|9|"


def notice(key: str = "k1", subject: str = "10.0.0.8", summary: str = "a scan", system: str = "portal") -> Notice:
    return Notice(
        key=key, kind="incident.opened", severity=Severity.HIGH, time=NOW, system=system, subject=subject,
        summary=summary,
    )  # fmt: skip


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    return context


def syslog(port: int, authority: Authority, clock: FakeClock | None = None) -> Syslog:
    return Syslog(
        "soc", "127.0.0.1", port, english, clock or FakeClock(NOW), version="1", named=LOOPBACK, ca_file=authority.ca
    )


def test_a_record_is_what_both_standards_ask_for(authority: Authority, context: ssl.SSLContext) -> None:
    with collector(context) as soc:
        assert syslog(soc.port, authority).send(notice()).state is ReceiptState.UNKNOWN
    (record,) = soc.records

    assert (record.severity, record.facility, record.time, record.msgid) == (3, 16, NOW, "incident.opened")
    assert record.head[:2] == ("govsec", "govsec") and record.head[3:] == (
        "incident.opened", "[incident.opened] 10.0.0.8", "8",
    )  # fmt: skip
    assert record.extension["externalId"] == "k1" and record.extension["cs1"] == "10.0.0.8"


@pytest.mark.parametrize("place", ["key", "subject", "summary", "system"])
@pytest.mark.parametrize("text", [HOSTILE, HOSTILE * 3, "很" * 190, "\\" * 190, "=" * 190, "|\\" * 90])
def test_hostile_text_stays_in_its_field_wherever_it_stands(
    place: str, text: str, authority: Authority, context: ssl.SSLContext
) -> None:
    said = notice().model_copy(update={place: text[:190]})
    with collector(context) as soc:
        syslog(soc.port, authority).send(said)
    (record,) = soc.records

    assert set(record.extension) <= {"rt", "externalId", "msg", "cs1Label", "cs1", "cs2Label", "cs2"}
    assert record.head[-1] == "8"
    if place != "key":
        assert record.extension["externalId"] == "k1"


def test_a_receiver_that_dies_gets_the_record_again_wherever_it_died(
    authority: Authority, context: ssl.SSLContext, tmp_path: Path
) -> None:
    deaths = [
        "",  # so that it is known as one that says goodbye
        "with the record in memory, in silence", "", "before the handshake", "after the handshake",
        "within the record", "with the record in memory", "", "within the record", "before the handshake",
    ]  # fmt: skip
    clock, outbox = FakeClock(NOW), Outbox(tmp_path / "outbox.db")
    keys = [f"k{number}" for number in range(12)]
    outbox.put([notice(key) for key in keys], ["soc"], NOW)
    with collector(context, deaths) as soc:
        sender = Sender(outbox, {"soc": syslog(soc.port, authority, clock)}, clock)
        for _ in range(100):
            sender.step(limit=100)
            clock.advance(60)
            if outbox.counters()["waiting"] == 0:
                break
    outbox.close()

    assert soc.deaths == [] and soc.sessions == len(keys) + sum(map(bool, deaths))
    assert sorted(record.extension["externalId"] for record in soc.records) == sorted(keys)


def test_a_receiver_that_never_says_goodbye_has_the_record_all_the_same(
    authority: Authority, context: ssl.SSLContext
) -> None:
    with collector(context, ["without a goodbye"] * 3) as soc:
        channel = syslog(soc.port, authority)
        for _ in range(3):
            assert channel.send(notice()).state is ReceiptState.UNKNOWN
    assert len(soc.records) == 3


def test_a_collector_that_is_not_the_one_gets_nothing(authority: Authority, context: ssl.SSLContext) -> None:
    with collector(context) as soc:
        other = Syslog("soc", "127.0.0.1", soc.port, english, FakeClock(NOW), version="1", named=LOOPBACK)
        with pytest.raises(DeliveryError, match="certificate") as raised:
            other.send(notice())
    assert raised.value.is_retryable
    assert soc.records == []


class _Rsyslog:
    """Debian's rsyslog: TLS by its OpenSSL driver, each record on the disk before the next byte is read."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder
        self.lines = folder / "records"
        self.port_file = folder / "port"
        (folder / "rsyslog.conf").write_text(
            f"""
global(workDirectory="{folder}" defaultNetstreamDriver="ossl" defaultNetstreamDriverCAFile="{authority.ca}"
  defaultNetstreamDriverCertFile="{authority.certificate}" defaultNetstreamDriverKeyFile="{authority.key}"
  parser.escapeControlCharactersOnReceive="off" maxMessageSize="16k")
main_queue(queue.type="Direct")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="anon")
template(name="raw" type="string" string="%rawmsg%\\n")
input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName="{self.port_file}")
action(type="omfile" file="{self.lines}" template="raw")
"""
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        """The port, once it listens."""
        self.port_file.unlink(missing_ok=True)
        argv = ["/usr/sbin/rsyslogd", "-n", "-f", str(self.folder / "rsyslog.conf"), "-i", str(self.folder / "pid")]
        (self.folder / "pid").unlink(missing_ok=True)
        with (self.folder / "said").open("ab") as said:
            self.process = subprocess.Popen(argv, stdout=said, stderr=said)
        end = time.monotonic() + 60
        while not (self.port_file.exists() and self.port_file.read_text().strip()):
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"rsyslog did not start: {(self.folder / 'said').read_text()}")
            time.sleep(0.02)
        return int(self.port_file.read_text())

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)

    def keys(self) -> list[str]:
        if not self.lines.exists():
            return []
        # What follows the last line's end is a line that is being written.
        *lines, _ = self.lines.read_bytes().split(b"\n")
        return [parsed(line).extension["externalId"] for line in lines]


@pytest.fixture
def rsyslog(authority: Authority, tmp_path: Path) -> Iterator[_Rsyslog]:
    require("rsyslog")
    if not list(Path("/usr/lib").glob("*/rsyslog/lmnsd_ossl.so")):
        missing("rsyslog", "no OpenSSL driver (package rsyslog-openssl)")
    server = _Rsyslog(tmp_path, authority)
    yield server
    if server.process is not None and server.process.poll() is None:
        server.kill()


def test_rsyslog_writes_every_record_as_it_was_meant(rsyslog: _Rsyslog, authority: Authority) -> None:
    channel = syslog(rsyslog.start(), authority)
    for number, text in enumerate([HOSTILE, "很长" * 90, "plain"]):
        channel.send(notice(f"k{number}", text, text))
    _until(lambda: len(rsyslog.keys()) == 3)

    assert rsyslog.keys() == ["k0", "k1", "k2"]


def test_nothing_is_lost_when_rsyslog_is_killed_in_the_middle_of_a_stream(
    rsyslog: _Rsyslog, authority: Authority, tmp_path: Path
) -> None:
    keys = [f"k{number:03}" for number in range(60)]
    clock, outbox = FakeClock(NOW), Outbox(tmp_path / "outbox.db")
    outbox.put([notice(key) for key in keys], ["soc"], NOW)
    kills = 0
    for kill_at in (8, 20, 35, len(keys)):
        channel = syslog(rsyslog.start(), authority, clock)
        done = threading.Event()

        def kill(kill_at: int = kill_at, done: threading.Event = done) -> None:
            while len(set(rsyslog.keys())) < kill_at and not done.wait(0.001):
                continue
            rsyslog.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        sender = Sender(outbox, {"soc": channel}, clock)
        while sender.step(limit=10).delivered == 10:
            continue
        while kill_at == len(keys) and outbox.counters()["waiting"]:  # nobody kills this one before all is said
            clock.advance(3600)
            sender.step(limit=10)
        done.set()
        killer.join(60)
        assert rsyslog.process is not None
        kills += rsyslog.process.returncode == -signal.SIGKILL
        clock.advance(3600)
    waiting = outbox.counters()["waiting"]
    outbox.close()

    assert kills == 4 and waiting == 0
    assert set(rsyslog.keys()) == set(keys)


def _until(holds: object) -> None:
    assert callable(holds)
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
