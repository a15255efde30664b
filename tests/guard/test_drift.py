"""Integrity: what was accepted, signed; what is not so any more, with before and after; updates that are no drift.

Packages are built and upgraded by the real dpkg in a scratch root.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from govsec.assemble.guard import accept_baseline, baseline_store, build_guard, trusted_keys
from govsec.clock import to_ns
from govsec.config import SigningConfig
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import ConfigurationError, FormatError, IntegrityError
from govsec.findings.baseline import Baseline
from govsec.guard.drifttables import SPECS, rows_of
from govsec.guard.filescan import FileChecker, FileScanner
from govsec.guard.filestate import FileState, marks_of
from govsec.guard.hostbaseline import BaselineStore, HostBaseline, KnownFiles, Scope
from govsec.guard.integrity import Integrity
from govsec.guard.packagefiles import DebianFiles
from govsec.guard.registry import Site
from govsec.host.tables import (
    KernelModule,
    Listener,
    Package,
    PrivilegedFile,
    ProcessKey,
    ScheduledTask,
    Service,
    Unavailable,
)
from govsec.records import Severity
from tests.guard.guarded import NOON, Machine
from tests.guard.records import MONDAY_NS, SECOND, Judge, account, actor, change, kinds, snapshot
from tests.support.require import missing


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_machine_that_did_not_change_has_no_drift_also_when_files_were_touched(machine: Machine) -> None:
    machine.accept()
    assert machine.drift() == []

    path = machine.root / "etc/app.conf"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    os.utime(machine.root / "usr/bin/app", ns=(1, 1))

    assert machine.drift() == []


def change_it(root: Path) -> None:
    (root / "usr/bin/app").write_text("#!/bin/sh\nnc 203.0.113.9\n")


def give_rights(root: Path) -> None:
    (root / "usr/bin/app").chmod(0o4755)


def remove_it(root: Path) -> None:
    (root / "usr/bin/app").unlink()


def put_a_link(root: Path) -> None:
    (root / "usr/bin/app").unlink()
    (root / "usr/bin/app").symlink_to("/tmp/app")


def keep_the_times(root: Path) -> None:
    """What is changed and dated back has another change time in its inode."""
    status = (root / "usr/bin/app").stat()
    (root / "usr/bin/app").write_text("#!/bin/sh\necho ppa\n")
    os.utime(root / "usr/bin/app", ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("deed", "how", "changed"),
    [
        (change_it, "changed", "contents"),
        (give_rights, "changed", "mode"),
        (remove_it, "removed", None),
        (put_a_link, "changed", "contents"),
        (keep_the_times, "changed", "contents"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_program_that_is_not_as_accepted_is_told_with_before_and_after(
    machine: Machine, deed: Callable[[Path], None], how: str, changed: str | None
) -> None:
    machine.accept()

    deed(machine.root)
    # A program that got rights is told as a privileged program too.
    (finding,) = [one for one in machine.drift() if one.kind == "host.drift.file"]

    assert (finding.subject, finding.facts["how"]) == (str(machine.root / "usr/bin/app"), how)
    assert changed is None or changed in finding.facts["changed"]  # type: ignore[operator]  # a list
    assert len(finding.facts["before"]["sha256"]) == 64  # type: ignore[index,call-overload,arg-type]  # JSON


def test_a_file_that_is_new_and_an_account_that_appears_are_told(machine: Machine) -> None:
    machine.accept()
    (machine.root / "etc/cron.d").mkdir()
    (machine.root / "etc/cron.d/x").write_text("* * * * * root /tmp/x\n")
    with (machine.root / "etc/passwd").open("a") as file:
        file.write("eve:x:1001:1001::/home/eve:/bin/bash\n")

    found = {(one.kind, one.facts.get("how")) for one in machine.drift()}

    assert {("host.drift.file", "added"), ("host.drift.account", "added"), ("host.drift.timer", "added")} <= found


def test_a_baseline_is_accepted_again_as_the_next_number_and_chained(machine: Machine) -> None:
    machine.accept()
    digest = baseline_store(machine.config).digest()
    change_it(machine.root)

    second = machine.accept()

    assert (second.number, second.previous, second.made_by) == (2, digest, "wang")
    assert machine.drift() == []
    assert len(list((machine.config.state_dir / "guard/baseline").glob("files-*.tsv"))) == 1


def flip(data: bytes) -> bytes:
    """One letter of the machine's name, or whatever stands there."""
    at = data.index(b'"made_by":"wang"') + 12
    return data[:at] + b"W" + data[at + 1 :]


@pytest.mark.parametrize(
    ("pattern", "change"),
    [
        ("baseline.json", flip),
        ("baseline.json", lambda data: data[:-20]),
        ("baseline.json", lambda data: b"{}"),
        ("files-*.tsv", lambda data: data.replace(b"etc", b"Etc", 1)),
        ("files-*.tsv", lambda data: data[: len(data) // 2]),
        ("files-*.tsv", None),
    ],
    ids=["a letter", "cut", "empty", "another path", "half the files", "no files"],
)
def test_a_baseline_that_was_altered_is_refused_and_told_by_the_guard(
    machine: Machine, pattern: str, change: Callable[[bytes], bytes] | None
) -> None:
    machine.accept()
    (path,) = (machine.config.state_dir / "guard/baseline").glob(pattern)
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))

    with pytest.raises(IntegrityError):
        machine.drift()
    with pytest.raises(IntegrityError):
        baseline_store(machine.config).load_files(baseline_store(machine.config).load(trusted_keys(machine.config)))
    guard = build_guard(machine.config, NOON, habits=Baseline())
    assert "host.tamper.baseline" in kinds(guard.step((), now_ns=to_ns(NOON.now())))


def test_a_baseline_that_was_taken_away_or_put_back_is_told(machine: Machine) -> None:
    machine.accept()
    folder = machine.config.state_dir / "guard/baseline"
    older = {path.name: path.read_bytes() for path in folder.iterdir()}
    machine.accept()
    build_guard(machine.config, NOON)

    for name, data in older.items():
        (folder / name).write_bytes(data)
    told = build_guard(machine.config, NOON).step((), now_ns=to_ns(NOON.now()))
    assert "host.tamper.baseline" in kinds(told)

    shutil.rmtree(folder)
    told = build_guard(machine.config, NOON).step((), now_ns=to_ns(NOON.now()))
    assert "host.tamper.baseline" in kinds(told)

    machine.accept()
    told = build_guard(machine.config, NOON).step((), now_ns=to_ns(NOON.now()))
    assert "host.tamper.baseline" not in kinds(told)


def test_a_baseline_signed_by_a_key_that_nobody_pinned_is_refused(machine: Machine, tmp_path: Path) -> None:
    machine.accept()
    store = baseline_store(machine.config)
    baseline = store.load(trusted_keys(machine.config))

    store.save(baseline, store.load_files(baseline), Signer.generate(Purpose.BASELINE))

    with pytest.raises(IntegrityError, match="not trusted"):
        machine.drift()


def test_without_a_key_nothing_is_accepted_and_without_a_baseline_nothing_passes(machine: Machine) -> None:
    with pytest.raises(ConfigurationError, match="no baseline has been accepted"):
        machine.drift()
    bare = machine.config.model_copy(update={"signing": SigningConfig()})
    with pytest.raises(ConfigurationError, match="baseline_key_file"):
        accept_baseline(bare, NOON, by="x", root=machine.root)
    guard = build_guard(machine.config, NOON, habits=Baseline())
    assert "host.events.degraded" in kinds(guard.step((), now_ns=to_ns(NOON.now())))


# Packages


@pytest.fixture
def dpkg(machine: Machine, tmp_path: Path) -> Callable[..., None]:
    """Builds a version of a package and installs it into the scratch root, or only unpacks it, with dpkg itself."""
    if not Path("/usr/bin/dpkg-deb").exists():
        missing("dpkg", "it is not installed")
    for name in ("status", "available"):
        (machine.root / "var/lib/dpkg" / name).touch()
    for name in ("updates", "triggers"):
        (machine.root / "var/lib/dpkg" / name).mkdir()

    def install(version: str, said: str, step: str = "--install") -> None:
        build = tmp_path / f"build-{version}"
        (build / "DEBIAN").mkdir(parents=True)
        (build / "usr/bin").mkdir(parents=True)
        (build / "etc").mkdir()
        (build / "usr/bin/tool").write_text(f"#!/bin/sh\necho {said}\n")
        (build / "usr/bin/tool").chmod(0o755)
        if version.startswith("1"):
            (build / "usr/bin/old-tool").write_text("old\n")
        else:
            (build / "usr/bin/new-tool").write_text("new\n")
        (build / "etc/tool.conf").write_text(f"version = {version}\n")
        (build / "DEBIAN/conffiles").write_text("/etc/tool.conf\n")
        (build / "DEBIAN/control").write_text(
            f"Package: tool\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"
        )
        sums = subprocess.run(
            ["md5sum", *(str(path.relative_to(build)) for path in sorted((build / "usr/bin").iterdir()))],
            cwd=build,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        (build / "DEBIAN/md5sums").write_text(sums)
        package = tmp_path / f"tool_{version}.deb"
        quiet = {"check": True, "capture_output": True, "timeout": 200}
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", str(build), str(package)], **quiet)  # type: ignore[call-overload]  # options
        argv = [
            "dpkg",
            f"--root={machine.root}",
            "--force-not-root,script-chrootless,bad-path,confold",
            "--no-triggers",
        ]
        log = ["--log=/dev/null", step, str(package)]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run([*argv, *log], env=environment, **quiet)  # type: ignore[call-overload]  # options

    return install


def test_a_package_that_is_upgraded_is_an_update_and_no_drift(
    machine: Machine, dpkg: Callable[[str, str], None]
) -> None:
    dpkg("1.0-1", "one")
    machine.accept()

    dpkg("2.0-1", "two")
    findings = machine.drift()

    assert {finding.severity for finding in findings} == {Severity.INFO}
    assert set(kinds(findings)) == {"host.update.package"}
    (files,) = [one for one in findings if one.facts["table"] == "files"]
    assert files.facts["before"] == {"version": "1.0-1"}
    assert files.facts["after"] == {"version": "2.0-1"}
    names = {Path(str(path)).name for path in files.facts["paths"]}  # type: ignore[union-attr]  # a list
    assert names == {"tool", "old-tool", "new-tool", "tool.conf"}


def test_a_package_that_is_new_is_none_either_also_before_it_is_configured(
    machine: Machine, dpkg: Callable[..., None]
) -> None:
    """Between unpacking and configuring apt lets go of dpkg's lock; and where a script fails, a package stays there."""
    status = machine.root / "var/lib/dpkg/status"
    status.write_text("Package: other\nStatus: install ok installed\nArchitecture: all\nVersion: 2\nDescription: x\n")
    machine.accept()

    dpkg("2.0-1", "two", "--unpack")
    files = [one for one in machine.drift() if one.facts.get("table") != "packages"]
    files = [
        one for one in files if not one.subject.endswith("/etc/tool.conf.dpkg-new")
    ]  # nobody vouches for half of it

    assert [one.severity for one in files] == [Severity.INFO], [one.summary for one in files]
    assert {Path(str(path)).name for path in files[0].facts["paths"]} >= {"tool", "new-tool"}  # type: ignore[union-attr]


def test_an_edited_configuration_is_kept_by_an_upgrade_and_what_lies_beside_it_is_none(
    machine: Machine, dpkg: Callable[..., None]
) -> None:
    dpkg("1.0-1", "one")
    settings = machine.root / "etc/tool.conf"
    settings.write_text("ours\n")
    machine.accept()

    dpkg("2.0-1", "two")
    (found,) = [one for one in machine.drift() if one.facts["table"] == "files"]
    assert found.severity is Severity.INFO
    assert str(settings) + ".dpkg-dist" in found.facts["paths"]  # type: ignore[operator]  # a list

    Path(f"{settings}.dpkg-dist").write_text("somebody's\n")
    worse = [one.subject for one in machine.drift() if one.severity > Severity.INFO]
    assert worse == [f"{settings}.dpkg-dist"]


def test_a_program_that_is_changed_after_an_upgrade_is_drift(
    machine: Machine, dpkg: Callable[[str, str], None]
) -> None:
    dpkg("1.0-1", "one")
    machine.accept()
    dpkg("2.0-1", "two")

    (machine.root / "usr/bin/tool").write_text("#!/bin/sh\necho three\n")
    found = [finding for finding in machine.drift() if finding.severity > Severity.INFO]

    assert [finding.subject for finding in found] == [str(machine.root / "usr/bin/tool")]


def make_set_id(tool: Path) -> None:
    tool.chmod(0o4755)


def put_a_link_in_its_place(tool: Path) -> None:
    tool.unlink()
    tool.symlink_to("/tmp/evil")


@pytest.mark.parametrize("deed", [make_set_id, put_a_link_in_its_place], ids=lambda deed: deed.__name__)
def test_an_upgrade_vouches_for_contents_and_for_no_rights(
    machine: Machine, dpkg: Callable[[str, str], None], deed: Callable[[Path], None]
) -> None:
    dpkg("1.0-1", "one")
    machine.accept()
    dpkg("2.0-1", "two")

    deed(machine.root / "usr/bin/tool")
    found = [finding for finding in machine.drift() if finding.severity > Severity.INFO]

    assert str(machine.root / "usr/bin/tool") in {finding.subject for finding in found}


def test_a_program_of_a_package_that_was_not_upgraded_is_drift_whatever_the_database_says(
    machine: Machine, dpkg: Callable[[str, str], None]
) -> None:
    dpkg("1.0-1", "one")
    machine.accept()

    tool = machine.root / "usr/bin/tool"
    tool.write_text("#!/bin/sh\nevil\n")
    said = subprocess.run(["md5sum", str(tool)], check=True, capture_output=True, text=True).stdout.split()[0]
    (machine.root / "var/lib/dpkg/info/tool.md5sums").write_text(f"{said}  usr/bin/tool\n")
    with (machine.root / "var/lib/dpkg/status").open("a") as status:  # some other package was updated meanwhile
        status.write("\nPackage: other\nStatus: install ok installed\nArchitecture: all\nVersion: 2\n")

    files = [one for one in machine.drift() if one.kind == "host.drift.file"]
    assert [finding.subject for finding in files] == [str(tool)]


@pytest.mark.parametrize("name", ["lock", "lock-frontend"])
def test_what_a_package_manager_is_doing_waits_until_it_is_done(
    machine: Machine, dpkg: Callable[[str, str], None], name: str
) -> None:
    """While its lock is held, or apt's around it, files of packages are not judged; afterwards they are."""
    dpkg("1.0-1", "one")
    machine.accept()
    store = baseline_store(machine.config)
    baseline = store.load(trusted_keys(machine.config))
    scanner = FileScanner(baseline.scope.roots, baseline.scope.exclude)
    integrity = Integrity(baseline, store.load_files(baseline), scanner, DebianFiles(machine.root))
    tool = machine.root / "usr/bin/tool"
    tool.write_text("half of it")
    lock = machine.root / "var/lib/dpkg" / name
    lock.touch()
    holder = (
        f"import fcntl, sys; f = open({str(lock)!r}, 'r+'); fcntl.lockf(f, fcntl.LOCK_EX); "
        "print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(["python3", "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            assert integrity.some(MONDAY_NS, {str(tool): None}).differences == ()
            assert integrity.has_waiting
            # Somebody who holds the lock for ever hides nothing.
            late = integrity.some(MONDAY_NS + 1801 * SECOND, {}).differences
        finally:
            child.communicate(timeout=60)

    assert [one.path for one in late] == [str(tool)]


# Tables, row by row


def accepted(**tables: Sequence[object]) -> Judge:
    """A judge whose baseline has these rows."""
    before = snapshot(**{name: tuple(rows) for name, rows in tables.items()})
    kept = {spec.value: rows_of(before, spec) for spec in SPECS}
    baseline = HostBaseline(
        host="web-1",
        made=NOON.now(),
        made_by="wang",
        number=1,
        scope=Scope(),
        tables={name: rows for name, rows in kept.items() if not isinstance(rows, Unavailable)},
    )
    return Judge("drift_tables", site=Site(habits=Baseline(), baseline=baseline))


def listener(port: int, program: str, address: str = "0.0.0.0") -> Listener:
    return Listener("tcp", 4, address, port, 0, port, ProcessKey(9, 9), program.rsplit("/", 1)[-1], program)


SERVICE = Service("web.service", "active", "enabled", "/etc/systemd/system/web.service", ("/usr/bin/web",))
EVIL = Service("web.service", "active", "enabled", "/etc/systemd/system/web.service", ("/tmp/x",))
SETID = PrivilegedFile("/usr/bin/sudo", 0o104755, 0, 0, (), 1, 1, "a" * 64)
CASES = {
    "listeners": ([listener(80, "/usr/sbin/nginx")], [listener(80, "/usr/sbin/nginx"), listener(4444, "/tmp/nc")]),
    "listeners owner": ([listener(80, "/usr/sbin/nginx")], [listener(80, "/tmp/nginx")]),
    "services": ([SERVICE], [EVIL]),
    "modules": ([], [KernelModule("rootkit", 1, (), False, "OE")]),
    "tasks": ([], [ScheduledTask("cron", "root", "@reboot", "/tmp/x", "/etc/crontab")]),
    "privileged": ([SETID], [SETID, PrivilegedFile("/tmp/sh", 0o104755, 0, 0, (), 1, 1, "b" * 64)]),
    "packages": ([], [Package("nmap", "7", "amd64", "dpkg", "nmap", "7")]),
    "accounts": ([account("root", 0)], [account("root", 0), account("eve", 1001)]),
}
KINDS = {
    "listeners": "host.drift.listener",
    "services": "host.drift.service",
    "modules": "host.drift.module",
    "tasks": "host.drift.timer",
    "privileged": "host.drift.setid",
    "packages": "host.drift.package",
    "accounts": "host.drift.account",
}


@pytest.mark.parametrize("case", CASES)
def test_a_row_that_is_not_as_accepted_is_told_with_before_and_after(case: str) -> None:
    table = case.split(" ")[0]
    before, after = CASES[case]
    judge = accepted(**{table: before})  # type: ignore[arg-type]  # rows of one table

    found = [
        finding
        for second in (0, 60)
        for finding in judge.take(snapshot(MONDAY_NS + second * SECOND, **{table: tuple(after)}))
    ]

    assert [finding.kind for finding in found] == [KINDS[table]]
    assert "after" in found[0].facts
    assert found[0].facts["attack"]


def test_passwords_in_commands_are_in_no_finding_and_a_change_of_them_is_seen() -> None:
    def task(command: str) -> ScheduledTask:
        return ScheduledTask("cron", "root", "0 2 * * *", command, "/etc/crontab")

    secret = "mysqldump --password=S3cretPw42 all"
    judge = accepted(tasks=[task(secret)])
    assert judge.take(snapshot(MONDAY_NS, tasks=(task(secret),))) == ()

    found = judge.take(snapshot(MONDAY_NS + 60 * SECOND, tasks=(task(secret.replace("S3cretPw42", "x;evil")),)))
    assert {finding.facts["how"] for finding in found} == {"added", "removed"}
    assert "S3cretPw42" not in "".join(finding.model_dump_json() for finding in found)


def test_what_changes_by_itself_is_no_drift() -> None:
    judge = accepted(
        listeners=[listener(80, "/usr/sbin/nginx")],
        services=[SERVICE],
        modules=[KernelModule("ext4", 1, (), True, "")],
        packages=[Package("a", "1", "all", "dpkg", "a", "1")],
    )
    calm = snapshot(
        MONDAY_NS,
        listeners=(listener(80, "/usr/sbin/nginx"), listener(40_000, "/usr/bin/node", "127.0.0.1")),
        services=(Service(SERVICE.name, "failed", SERVICE.enabled, SERVICE.file, SERVICE.commands),),
        modules=(KernelModule("ext4", 9, ("x",), True, ""),),
        packages=(Package("a", "1", "all", "dpkg", "a", "1"),),
    )

    assert judge.take(calm) == ()


def test_a_listener_that_is_away_while_its_service_restarts_is_silent() -> None:
    judge = accepted(listeners=[listener(80, "/usr/sbin/nginx")])

    for second, there in enumerate((False, True, False, True)):
        rows = (listener(80, "/usr/sbin/nginx"),) if there else ()
        assert judge.take(snapshot(MONDAY_NS + second * SECOND, listeners=rows)) == ()


def test_who_listens_to_this_machine_alone_is_told_softly_and_who_listens_to_others_is_not() -> None:
    judge = accepted(listeners=[listener(80, "/usr/sbin/nginx")])
    rows = (
        listener(80, "/usr/sbin/nginx"),
        listener(8080, "/opt/app"),
        listener(9000, "/opt/app", "127.0.0.1"),
    )
    told = [judge.take(snapshot(MONDAY_NS + second * SECOND, listeners=rows)) for second in range(2)][1]
    assert {finding.subject: finding.severity for finding in told} == {
        "tcp/8080 exposed": Severity.MEDIUM,
        "tcp/9000 loopback": Severity.LOW,
    }


def test_a_new_version_of_a_package_is_an_update() -> None:
    judge = accepted(packages=[Package("a", "1", "all", "dpkg", "a", "1")])

    (finding,) = judge.take(snapshot(packages=(Package("a", "2", "all", "dpkg", "a", "2"),)))

    assert (finding.kind, finding.severity) == ("host.update.package", Severity.INFO)


def test_very_much_drift_is_told_by_its_worst_rows_and_a_count() -> None:
    judge = accepted(accounts=[account("root", 0)])
    many = (account("root", 0), account("toor", 0), *(account(f"u{at}", 2000 + at) for at in range(200)))

    found = judge.take(snapshot(accounts=many))

    assert len(found) == 41
    assert any(finding.subject == "toor" and finding.severity is Severity.CRITICAL for finding in found)
    assert "161 more rows" in str([finding.summary for finding in found])


# Files


def test_a_change_is_told_by_the_guard_with_who_made_it(machine: Machine) -> None:
    machine.accept()
    guard = build_guard(machine.config, NOON, habits=Baseline())
    now = to_ns(NOON.now())
    guard.step((), now_ns=now)

    change_it(machine.root)
    record = replace(change(0, str(machine.root / "usr/bin/app"), by=actor(66, "vi")), time_ns=now + SECOND)
    found = [one for one in guard.step((record,), now_ns=now + 2 * SECOND) if one.kind == "host.drift.file"]

    (finding,) = found
    assert finding.facts["processes"][0]["name"] == "vi"  # type: ignore[index,call-overload]  # JSON


def test_odd_names_are_kept_and_compared(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    names = [b"plain", b"tab\there", b"line\nbreak", b"per%cent", b"\xff\xfe", "名字".encode()]
    for name in names:
        Path(os.fsdecode(bytes(tree) + b"/" + name)).write_bytes(name)
    scanner = FileScanner([str(tree)], [])
    states = {path: marks_of(status) + scanner.digest(path, status) for path, status in scanner.walk()}
    signer = Signer.generate(Purpose.BASELINE)
    store = BaselineStore(tmp_path / "store")
    baseline = HostBaseline(host="h", made=NOON.now(), made_by="x", number=1, scope=Scope())
    store.save(baseline, KnownFiles(states, {}), signer)

    trusted = TrustedKeys([signer.public()])
    files = store.load_files(store.load(trusted))

    assert files.states == states
    assert len(files.states) == len(names) + 1
    assert list(FileChecker(scanner, files.states).everything()) == []


def test_a_state_is_packed_and_unpacked() -> None:
    state = FileState(1, 2, 3, 4, 0o100644, 5, 6, "ab" * 32)

    assert FileState.unpack(state.pack()) == state
    assert FileState.unpack(FileState(1, 2, 3, 4, 5, 6, 7, "").pack()).digest == ""


def test_a_table_of_files_that_is_no_table_is_refused(tmp_path: Path) -> None:
    data = b"one\tzz\t\n"
    digest = hashlib.sha256(data).hexdigest()
    (tmp_path / f"files-{digest[:32]}.tsv").write_bytes(data)
    baseline = HostBaseline.model_validate(
        {"host": "h", "made": "2026-01-01T00:00:00Z", "made_by": "x", "number": 1, "scope": {}}
        | {"files": {"count": 1, "sha256": digest}}
    )

    with pytest.raises(FormatError, match="no table of files"):
        BaselineStore(tmp_path).load_files(baseline)


def test_links_pipes_and_other_file_systems_do_not_hold_a_pass_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "proc").symlink_to("/proc")
    scanner = FileScanner([str(tmp_path), "/nowhere"], [])

    states = {Path(path).name: scanner.digest(path, status) for path, status in scanner.walk()}

    assert set(states) == {tmp_path.name, "pipe", "loop", "proc"}
    assert scanner.counts["roots_missing"] == 1
