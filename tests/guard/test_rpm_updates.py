"""Updates on systems of rpm: what a package's new version vouches for is no drift, and everything else is.

Packages are built, installed, upgraded and removed by the real rpm in a scratch root.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from govsec.assemble.guard import baseline_store, drift, package_files, trusted_keys
from govsec.guard.filescan import FileScanner
from govsec.guard.integrity import Integrity
from govsec.guard.packagefiles import DebianFiles
from govsec.guard.rpmfiles import RpmFiles
from govsec.host.snapshot import take
from govsec.host.tables import Package, TableName, Unavailable
from govsec.records import Severity
from tests.guard.guarded import NOON, Machine
from tests.guard.records import MONDAY_NS
from tests.support.require import require_root
from tests.support.rpm import RpmRoot, build_rpm

#: Files of the package ``name``; {version} is in their contents. Version 2 has other rights and another target too.
_INSTALL = """\
cd %{{buildroot}}; mkdir -p usr/bin etc usr/lib/{name}
echo 'echo {version}' >usr/bin/{name}
echo 'set-id {version}' >usr/bin/{name}-setid
echo 'tightened {version}' >usr/bin/{name}-tightened
echo 'only in {version}' >usr/bin/{name}-only-{version}
ln -s {name}-only-{version} usr/bin/{name}-link
echo 'version = {version}' >etc/{name}.conf
echo 'owned {version}' >etc/{name}.owned
"""
_FILES = """\
%attr(755, root, root) /usr/bin/{name}
%attr(4755, root, root) /usr/bin/{name}-setid
%attr({tightened}, root, root) /usr/bin/{name}-tightened
/usr/bin/{name}-only-{version}
/usr/bin/{name}-link
%config(noreplace) /etc/{name}.conf
%attr(640, wang, wang) /etc/{name}.owned
%ghost /etc/{name}.made-later
%dir %attr({tightened}, root, root) /usr/lib/{name}
"""


def build(folder: Path, name: str, version: str, algorithm: int = 8) -> Path:
    words = {"name": name, "version": version, "tightened": "755" if version == "1.0" else "750"}
    install, files = _INSTALL.format(**words), _FILES.format(**words)
    return build_rpm(folder, name, version, install, files, algorithm=algorithm)


@dataclass(frozen=True)
class Packages:
    """Built once for all tests."""

    tool: Mapping[str, Path]
    other: Path


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    folder = tmp_path_factory.mktemp("packages")
    return Packages({one: build(folder, "tool", one) for one in ("1.0", "2.0")}, build(folder, "other", "1.0"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    shutil.rmtree(made.root / "var/lib/dpkg")
    return made


@pytest.fixture
def rpm(machine: Machine, packages: Packages) -> RpmRoot:
    """The guarded root with version 1.0 of the tool, accepted so."""
    rpm = RpmRoot(machine.root)
    rpm.install(packages.tool["1.0"])
    machine.accept()
    return rpm


def drifted(machine: Machine) -> set[str]:
    """Files that are told as drift, as the machine names them."""
    return {
        finding.subject.removeprefix(str(machine.root))
        for finding in machine.drift()
        if finding.kind == "host.drift.file"
    }


def updated(machine: Machine) -> set[str]:
    """Files that are told as part of an update."""
    return {
        str(path).removeprefix(str(machine.root))
        for finding in machine.drift()
        if finding.kind == "host.update.package" and finding.facts["table"] == "files"
        for path in finding.facts["paths"]  # type: ignore[union-attr]  # a list
    }


def test_an_upgrade_is_an_update_with_rights_owners_and_links_that_are_the_packages(
    machine: Machine, rpm: RpmRoot, packages: Packages
) -> None:
    rpm.upgrade(packages.tool["2.0"])
    findings = machine.drift()

    assert [finding for finding in findings if finding.severity > Severity.INFO] == []
    (files,) = [one for one in findings if one.facts["table"] == "files"]
    assert files.facts["before"] == {"version": "1.0-1.noarch"}
    assert files.facts["after"] == {"version": "2.0-1.noarch"}
    assert updated(machine) == {
        "/usr/bin/tool",
        "/usr/bin/tool-setid",
        "/usr/bin/tool-tightened",
        "/usr/bin/tool-only-1.0",
        "/usr/bin/tool-only-2.0",
        "/usr/bin/tool-link",
        "/etc/tool.conf",
        "/etc/tool.owned",
        "/usr/lib/tool",
    }


@pytest.mark.parametrize("algorithm", [1, 2, 10], ids=["md5", "sha1", "sha512"])
def test_digests_of_every_algorithm_are_compared(
    machine: Machine, rpm: RpmRoot, tmp_path: Path, algorithm: int
) -> None:
    rpm.upgrade(build(tmp_path, "tool", "2.0", algorithm))
    (machine.root / "usr/bin/tool-setid").write_text("sEt-id 2.0\n")
    (machine.root / "usr/bin/tool-setid").chmod(0o4755)

    assert drifted(machine) == {"/usr/bin/tool-setid"}
    assert "/usr/bin/tool" in updated(machine)


def change_a_byte(root: Path) -> str:
    (root / "usr/bin/tool").write_text("echo 2.1\n")
    return "/usr/bin/tool"


def make_set_id(root: Path) -> str:
    (root / "usr/bin/tool").chmod(0o4755)
    return "/usr/bin/tool"


def put_a_link_in_its_place(root: Path) -> str:
    (root / "usr/bin/tool").rename(root / "elsewhere")
    (root / "usr/bin/tool").symlink_to("../../elsewhere")
    return "/usr/bin/tool"


def put_a_file_in_the_place_of_a_link(root: Path) -> str:
    (root / "usr/bin/tool-link").unlink()
    shutil.copy(root / "usr/bin/tool-only-2.0", root / "usr/bin/tool-link")
    return "/usr/bin/tool-link"


def turn_a_link(root: Path) -> str:
    (root / "usr/bin/tool-link").unlink()
    (root / "usr/bin/tool-link").symlink_to("tool-setid")
    return "/usr/bin/tool-link"


def put_another_file_of_the_package_there(root: Path) -> str:
    (root / "usr/bin/tool").write_bytes((root / "usr/bin/tool-tightened").read_bytes())
    return "/usr/bin/tool"


def put_the_old_version_back(root: Path) -> str:
    (root / "usr/bin/tool").write_text("echo 1.0\n\n")
    return "/usr/bin/tool"


def edit_the_configuration(root: Path) -> str:
    (root / "etc/tool.conf").write_text("version = 2.0\nlisten = *\n")
    return "/etc/tool.conf"


def give_it_away(root: Path) -> str:
    os.chown(root / "usr/bin/tool", 1000, 0)
    return "/usr/bin/tool"


def take_it_from_its_owner(root: Path) -> str:
    os.chown(root / "etc/tool.owned", 0, 0)
    return "/etc/tool.owned"


def loosen_what_the_package_tightened(root: Path) -> str:
    (root / "usr/bin/tool-tightened").chmod(0o757)
    return "/usr/bin/tool-tightened"


def open_a_folder(root: Path) -> str:
    (root / "usr/lib/tool").chmod(0o777)
    return "/usr/lib/tool"


def write_what_the_package_only_names(root: Path) -> str:
    (root / "etc/tool.made-later").write_text("x")
    return "/etc/tool.made-later"


def remove_what_the_package_still_has(root: Path) -> str:
    (root / "usr/bin/tool").unlink()
    return "/usr/bin/tool"


def put_a_pipe_in_its_place(root: Path) -> str:
    (root / "usr/bin/tool").unlink()
    os.mkfifo(root / "usr/bin/tool", 0o755)
    return "/usr/bin/tool"


@pytest.mark.parametrize(
    "deed",
    [
        change_a_byte,
        make_set_id,
        put_a_link_in_its_place,
        put_a_file_in_the_place_of_a_link,
        turn_a_link,
        put_another_file_of_the_package_there,
        put_the_old_version_back,
        edit_the_configuration,
        give_it_away,
        take_it_from_its_owner,
        loosen_what_the_package_tightened,
        open_a_folder,
        write_what_the_package_only_names,
        remove_what_the_package_still_has,
        put_a_pipe_in_its_place,
    ],
    ids=lambda deed: deed.__name__,
)
def test_what_is_not_as_the_package_says_is_drift_also_after_an_upgrade(
    machine: Machine, rpm: RpmRoot, packages: Packages, deed: Callable[[Path], str]
) -> None:
    rpm.upgrade(packages.tool["2.0"])

    path = deed(machine.root)

    assert path in drifted(machine)
    assert path not in updated(machine)
    assert "/usr/bin/tool-setid" in updated(machine)  # the rest of the upgrade is one


def test_a_program_of_a_package_that_was_not_upgraded_is_drift_whatever_the_database_says(
    machine: Machine, rpm: RpmRoot, packages: Packages
) -> None:
    evil = b"evil 1.0\n"
    tool = machine.root / "usr/bin/tool"
    said = hashlib.sha256(tool.read_bytes()).hexdigest().encode()
    tool.write_bytes(evil)
    change_headers(rpm.database, lambda blob: blob.replace(said, hashlib.sha256(evil).hexdigest().encode()))
    rpm.install(packages.other)  # something else was updated meanwhile

    assert RpmFiles(machine.root).vouches("tool", str(tool))
    assert drifted(machine) == {"/usr/bin/tool"}
    assert "/usr/bin/other" in updated(machine)


def test_a_configuration_that_was_edited_before_the_upgrade_stays_as_accepted(
    machine: Machine, rpm: RpmRoot, packages: Packages
) -> None:
    (machine.root / "etc/tool.conf").write_text("version = mine\n")
    machine.accept()
    rpm.upgrade(packages.tool["2.0"])

    assert (machine.root / "etc/tool.conf").read_text() == "version = mine\n"
    assert drifted(machine) == set()
    # What the package brought lies beside it.
    assert "/etc/tool.conf.rpmnew" in updated(machine)

    (machine.root / "etc/tool.conf.rpmnew").write_text("version = 3.0\n")
    shutil.copy(machine.root / "usr/bin/tool-setid", machine.root / "usr/bin/tool-setid.rpmnew")
    (machine.root / "usr/bin/tool-setid.rpmnew").chmod(0o4755)
    assert drifted(machine) == {"/etc/tool.conf.rpmnew", "/usr/bin/tool-setid.rpmnew"}


def test_a_file_that_went_over_to_another_package_is_an_update(machine: Machine, tmp_path: Path) -> None:
    def library(name: str, version: str, files: str) -> Path:
        install = "mkdir -p %{buildroot}/usr/lib; cd %{buildroot}/usr/lib"
        written = "".join(f"; echo {version} >{one}" for one in files)
        return build_rpm(tmp_path, name, version, install + written, "\n".join(f"/usr/lib/{one}" for one in files))

    rpm = RpmRoot(machine.root)
    rpm.install(library("whole", "1.0", "ab"))
    machine.accept()
    rpm.upgrade(library("whole", "2.0", "a"), library("part", "2.0", "b"))

    assert drifted(machine) == set()
    assert {"/usr/lib/a", "/usr/lib/b"} <= updated(machine)
    (machine.root / "usr/lib/b").write_text("2.0 c\n")
    assert drifted(machine) == {"/usr/lib/b"}


def change_headers(database: Path, change: Callable[[bytes], bytes]) -> None:
    with sqlite3.connect(database) as opened:
        for number, blob in opened.execute("SELECT hnum, blob FROM Packages").fetchall():
            opened.execute("UPDATE Packages SET blob = ? WHERE hnum = ?", (change(blob), number))
    opened.close()


def cut_the_file(database: Path) -> None:
    os.truncate(database, database.stat().st_size // 2)


def overwrite_the_file(database: Path) -> None:
    database.write_bytes(b"\xff" * database.stat().st_size)


def remove_the_file(database: Path) -> None:
    database.unlink()


def cut_headers(database: Path) -> None:
    change_headers(database, lambda blob: blob[: len(blob) // 2])


def lie_about_counts(database: Path) -> None:
    change_headers(database, lambda blob: b"\x00\x0f\xff\xff" + blob[4:])


def put_a_view_that_never_ends(database: Path) -> None:
    with sqlite3.connect(database) as opened:
        opened.execute("ALTER TABLE Packages RENAME TO Moved")
        opened.execute(
            "CREATE VIEW Packages AS WITH RECURSIVE n(hnum) AS (SELECT 1 UNION ALL SELECT hnum + 1 FROM n) "
            "SELECT hnum, x'00' AS blob FROM n WHERE hnum < 0"
        )
    opened.close()


@pytest.mark.parametrize(
    "damage",
    [cut_the_file, overwrite_the_file, remove_the_file, cut_headers, lie_about_counts, put_a_view_that_never_ends],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_database_counts_faults_and_explains_nothing(
    machine: Machine, rpm: RpmRoot, packages: Packages, damage: Callable[[Path], None]
) -> None:
    rpm.upgrade(packages.tool["2.0"])
    for beside in rpm.database.parent.glob("rpmdb.sqlite-*"):
        beside.unlink()
    baseline = baseline_store(machine.config).load(trusted_keys(machine.config))
    files = baseline_store(machine.config).load_files(baseline)
    found = RpmFiles(machine.root)
    damage(rpm.database)
    integrity = Integrity(baseline, files, FileScanner(baseline.scope.roots, baseline.scope.exclude), found)
    look = integrity.everything(MONDAY_NS)

    # Also what is gone: a package that nobody can read is not one that was removed.
    assert {Path(one.path).name for one in look.differences} >= {"tool", "tool-only-1.0", "tool-only-2.0"}
    assert [one.path for one in look.differences if one.update is not None] == []
    assert integrity.counters()["package_faults"] > 0
    assert found.owners([str(machine.root / "usr/bin/tool")]) == {}


def test_a_package_that_is_removed_explains_what_is_gone_and_nothing_that_stays(
    machine: Machine, rpm: RpmRoot, packages: Packages
) -> None:
    rpm.install(packages.other)
    machine.accept()
    rpm.erase("tool")
    (machine.root / "usr/bin/tool").write_text("still here\n")
    (machine.root / "usr/bin/other").unlink()

    assert drifted(machine) == {"/usr/bin/tool", "/usr/bin/other"}
    assert {"/usr/bin/tool-setid", "/usr/bin/tool-link", "/etc/tool.conf"} <= updated(machine)


def test_several_packages_of_one_name_are_one_whose_version_is_all_of_theirs(machine: Machine, tmp_path: Path) -> None:
    """As kernels are: the new one comes beside the old one, which goes later."""
    rpm = RpmRoot(machine.root)

    def kernel(version: str) -> Path:
        install = (
            f"mkdir -p %{{buildroot}}/usr/lib/k/{version}; echo {version} >%{{buildroot}}/usr/lib/k/{version}/image"
        )
        return build_rpm(tmp_path, "kernel", version, install, f"/usr/lib/k/{version}")

    rpm.install(kernel("5.10"))
    machine.accept()
    rpm.install(kernel("6.6"))

    assert RpmFiles(machine.root).versions() == {"kernel": "5.10-1.noarch 6.6-1.noarch"}
    assert "/usr/lib/k/6.6/image" in updated(machine)
    (machine.root / "usr/lib/k/5.10/image").write_text("5.1O\n")
    assert drifted(machine) == {"/usr/lib/k/5.10/image"}
    machine.accept()
    rpm.erase("kernel-5.10")
    assert drifted(machine) == set()
    assert "/usr/lib/k/5.10/image" in updated(machine)


def test_what_rpm_is_doing_waits_until_it_is_done(machine: Machine, rpm: RpmRoot, tmp_path: Path) -> None:
    """A package stops in the middle of its transaction, with rpm's own lock held, until the test lets it go on."""
    gate = machine.root / "gate"
    os.mkfifo(gate)
    new = {"name": "tool", "version": "2.0", "tightened": "755"}
    package = build_rpm(
        tmp_path,
        "tool",
        "2.0",
        _INSTALL.format(**new),
        _FILES.format(**new),
        scripts='%post -p <lua>\nlocal gate = io.open("/gate", "r"); gate:read("*a"); gate:close()',
    )
    store = baseline_store(machine.config)
    baseline = store.load(trusted_keys(machine.config))
    scanner = FileScanner(baseline.scope.roots, baseline.scope.exclude)
    integrity = Integrity(baseline, store.load_files(baseline), scanner, RpmFiles(machine.root))
    tool = str(machine.root / "usr/bin/tool")
    argv = [option if option != "-i" else "-U" for option in rpm.install_argv(package)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        with gate.open("w"):  # opens once rpm reads it
            assert Path(tool).read_text() == "echo 2.0\n"
            during = integrity.some(MONDAY_NS, {tool: None})
            assert integrity.has_waiting
        assert child.wait(timeout=300) == 0
    after = integrity.some(MONDAY_NS, {})

    assert during.differences == ()
    assert [(one.path, one.update is not None) for one in after.differences] == [(tool, True)]
    assert not integrity.has_waiting


class Beginning(RpmFiles):
    """rpm begins its transaction right after the first question whether it is at work."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._asked_count = 0

    def is_busy(self) -> bool:
        self._asked_count += 1
        return self._asked_count > 1


def test_what_rpm_begins_during_a_pass_waits_too(machine: Machine, rpm: RpmRoot) -> None:
    store = baseline_store(machine.config)
    baseline = store.load(trusted_keys(machine.config))
    scanner = FileScanner(baseline.scope.roots, baseline.scope.exclude)
    integrity = Integrity(baseline, store.load_files(baseline), scanner, Beginning(machine.root))
    (machine.root / "usr/bin/tool").write_text("half of it")

    assert integrity.everything(MONDAY_NS).differences == ()
    assert integrity.has_waiting


def test_the_database_is_found_where_rpm_keeps_it_now(machine: Machine, packages: Packages) -> None:
    old, new = RpmRoot(machine.root), RpmRoot(machine.root, "/usr/lib/sysimage/rpm")
    old.install(packages.other)
    new.install(packages.tool["1.0"])
    os.utime(old.database, ns=(MONDAY_NS, MONDAY_NS))

    assert list(RpmFiles(machine.root).versions()) == ["tool"]
    os.utime(new.database, ns=(MONDAY_NS - 1, MONDAY_NS - 1))
    assert list(RpmFiles(machine.root).versions()) == ["other"]


def test_the_manager_that_made_the_system_is_asked_and_not_one_that_is_a_mere_tool(
    machine: Machine, rpm: RpmRoot
) -> None:
    status = machine.root / "var/lib/dpkg/status"
    assert isinstance(package_files(machine.root), RpmFiles)
    status.parent.mkdir()
    status.touch()
    assert isinstance(package_files(machine.root), RpmFiles)
    stanza = "Package: {0}\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"
    status.write_text("\n".join(stanza.format(name) for name in ("dpkg", "libc6")))
    assert isinstance(package_files(machine.root), DebianFiles)
    rpm.database.unlink()
    status.unlink()
    assert package_files(machine.root) is None


def test_owners_versions_and_files_are_what_rpm_itself_says(machine: Machine, rpm: RpmRoot, packages: Packages) -> None:
    rpm.install(packages.other)
    found = RpmFiles(machine.root)
    said = {path: package for package in ("other", "tool") for path in rpm.says("-l", package)}
    paths = [str(machine.root) + path for path in said]

    assert found.versions() == dict(line.split("\t") for line in rpm.says("-a", "--qf", "%{NAME}\t%{EVR}.%{ARCH}\n"))
    assert found.owners([*paths, str(machine.root / "etc/passwd")]) == {
        str(machine.root) + path: package for path, package in said.items()
    }
    assert all(found.owns(package, str(machine.root) + path) for path, package in said.items())
    assert not found.owns("tool", str(machine.root / "usr/bin/other"))
    there = {path for path in said if not path.endswith(".made-later")}
    assert {path for path in said if found.vouches(said[path], str(machine.root) + path)} == there
    assert found.faults_count == 0
    assert take(NOON, [TableName.PACKAGES], root=machine.root).packages == tuple(
        Package(name, "1.0-1", "noarch", "rpm", name, "1.0-1") for name in ("other", "tool")
    )


@pytest.mark.parametrize("is_swapped", [False, True], ids=["this byte order", "the other"])
def test_what_rpm_kept_in_berkeley_db_is_read_as_well(
    machine: Machine, packages: Packages, tmp_path: Path, is_swapped: bool
) -> None:
    """As on systems whose rpm is older than 4.17: openEuler 20.03, Kylin V10, CentOS 7 and 8, Anolis 8."""
    rpm = RpmRoot(machine.root, "/other")
    placed = machine.root / "var/lib/rpm/Packages"
    # More than a page holds.
    install = (
        "mkdir -p %{buildroot}/opt; cd %{buildroot}/opt; seq 1 200 | split --lines=1 --numeric-suffixes -a 3 - file"
    )
    rpm.install(packages.tool["1.0"], packages.other, build_rpm(tmp_path, "many", "1.0", install, "/opt/*"))
    rpm.copy_to_berkeley_db(placed, is_swapped=is_swapped)
    machine.accept()
    rpm.upgrade(packages.tool["2.0"])
    rpm.copy_to_berkeley_db(placed, is_swapped=is_swapped)
    (machine.root / "usr/bin/tool-setid").chmod(0o4757)

    assert drifted(machine) == {"/usr/bin/tool-setid"}
    assert "/usr/bin/tool" in updated(machine)
    found = RpmFiles(machine.root)
    said = rpm.says_of_berkeley_db("/var/lib/rpm", "-a", "--qf", "%{NAME} %{EVR}.%{ARCH}\n")
    assert found.versions() == dict(line.split() for line in said)
    assert len(found.versions()) == 3
    assert all(found.vouches("many", str(machine.root / f"opt/file{number:03}")) for number in range(200))
    assert found.faults_count == 0
    listed = take(NOON, [TableName.PACKAGES], root=machine.root).packages
    assert not isinstance(listed, Unavailable)
    assert {(one.name, one.version) for one in listed} == {("many", "1.0-1"), ("other", "1.0-1"), ("tool", "2.0-1")}


def test_a_baseline_that_knows_no_versions_explains_nothing(machine: Machine, packages: Packages) -> None:
    """One that was accepted before databases of rpm were read, or before there was one."""
    require_root()
    machine.accept()
    RpmRoot(machine.root).install(packages.tool["1.0"])

    assert "/usr/bin/tool" in drifted(machine)
    assert drift(machine.config, NOON, root=machine.root)[2]["integrity"]["package_faults"] == 0
