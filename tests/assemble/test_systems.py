"""A site opens what its configuration gives it, and names what it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from govsec.assemble.systems import Site
from govsec.config import Config, Role
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import ConfigurationError, ObjectNotFoundError, UsageError, WrongPasswordError
from govsec.repo.repository import WritableRepository
from govsec.store.limit import LimitStore
from govsec.testing.clock import FakeClock


def _site(tmp_path: Path, clock: FakeClock, **changes: Any) -> Site:
    value = {
        "centers": {
            "main": {"role": "production", "store": {"kind": "local", "path": tmp_path / "main"}},
            "near": {
                "role": "same_city",
                "store": {"kind": "s3", "endpoint": "https://127.0.0.1:1", "bucket": "backup", "prefix": "/gov/"},
            },
        },
        "systems": [{"name": "hr"}, {"name": "law"}],
    }
    return Site(Config.model_validate(value | changes), clock)


@pytest.fixture(autouse=True)
def place(tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()


def _secret(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def test_a_system_is_found_by_name_or_by_being_the_only_one(tmp_path: Path, clock: FakeClock) -> None:
    site = _site(tmp_path, clock)

    assert site.system("law").name == "law"
    assert _site(tmp_path, clock, systems=[{"name": "only"}]).system().name == "only"
    with pytest.raises(UsageError, match="name one with --system; the configuration has: hr, law"):
        site.system()
    with pytest.raises(UsageError, match="no system 'tax'"):
        site.system("tax")
    with pytest.raises(UsageError, match="has: none"):
        _site(tmp_path, clock, systems=[]).system()


def test_a_center_is_found_by_name_or_role(tmp_path: Path, clock: FakeClock) -> None:
    site = _site(tmp_path, clock)

    assert site.center("near")[0] == site.center("same_city")[0] == "near"
    assert (site.name_of(Role.SAME_CITY), site.name_of(Role.REMOTE)) == ("near", None)
    with pytest.raises(UsageError, match="no center 'far'; the configuration has: main, near"):
        site.center("far")


def test_every_system_has_a_place_of_its_own_in_a_center(tmp_path: Path, clock: FakeClock) -> None:
    site = _site(tmp_path, clock)

    site.store(site.system("hr"), "main", create=True).put("config", b"hr")
    site.store(site.system("law"), "main", create=True)

    assert (tmp_path / "main" / "hr" / "config").read_bytes() == b"hr"
    with pytest.raises(ObjectNotFoundError):
        site.read_store(site.system("law"), "main").head("config")


def test_the_directory_of_a_center_is_never_made(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "main").rmdir()
    site = _site(tmp_path, clock)

    with pytest.raises(
        ConfigurationError, match=f"center main: there is no directory {tmp_path}/main; make it, or mount"
    ):
        site.store(site.system("hr"), "main", create=True)
    assert not (tmp_path / "main").exists()


def test_what_is_opened_to_read_cannot_be_written(tmp_path: Path, clock: FakeClock) -> None:
    site = _site(tmp_path, clock)
    site.store(site.system("hr"), "main", create=True)

    store = site.read_store(site.system("hr"), "main")

    assert not hasattr(store, "put")
    assert not hasattr(store, "delete")


def test_a_center_without_a_credential_of_this_site_is_named(tmp_path: Path, clock: FakeClock) -> None:
    site = _site(tmp_path, clock)
    hr = site.system("hr")

    for call, key in (
        (lambda: site.store(hr, "near"), "credentials_file"),
        (lambda: site.read_store(hr, "near"), "read_credentials_file"),
        (lambda: site.owner_store(hr, "near"), "owner_credentials_file"),
    ):
        with pytest.raises(ConfigurationError, match=f"center near: {key} is not set"):
            call()


def test_writing_never_falls_back_to_another_credential(tmp_path: Path, clock: FakeClock) -> None:
    secret = _secret(tmp_path / "owner", b'{"access_key": "a", "secret_key": "b"}')
    centers = {
        "near": {
            "role": "same_city",
            "store": {"kind": "s3", "endpoint": "https://127.0.0.1:1", "bucket": "backup"},
            "owner_credentials_file": secret,
        }
    }
    site = _site(tmp_path, clock, centers=centers)

    assert site.owner_store(site.system("hr"), "near") is not None
    assert site.read_store(site.system("hr"), "near").name == "near"
    with pytest.raises(ConfigurationError, match="credentials_file is not set"):
        site.store(site.system("hr"), "near")


def test_a_directory_keeps_no_versions(tmp_path: Path, clock: FakeClock) -> None:
    site = _site(tmp_path, clock)

    assert site.owner_store(site.system("hr"), "main") is None


def test_all_stores_of_a_center_share_its_line(tmp_path: Path, clock: FakeClock) -> None:
    centers = {
        "main": {
            "role": "production",
            "store": {"kind": "local", "path": tmp_path / "main"},
            "rate_bytes_per_s": 1000,
        }
    }
    site = _site(tmp_path, clock, centers=centers)
    hr, law = (site.store(site.system(name), "main", create=True) for name in ("hr", "law"))
    assert isinstance(hr, LimitStore)

    before = clock.monotonic()
    for store in (hr, law, hr):
        store.put("config", b"x" * 2000)

    # Three puts of two seconds each: the last waits for the first two, however the bucket began.
    assert clock.monotonic() - before >= 3


def test_a_repository_opens_with_this_sites_password_only(tmp_path: Path, clock: FakeClock) -> None:
    good, bad = _secret(tmp_path / "good", b"right\n"), _secret(tmp_path / "bad", b"wrong\n")
    system = {"name": "hr", "password_file": good}
    site = _site(tmp_path, clock, systems=[system])
    WritableRepository.initialize(site.store(site.system(), "main", create=True), b"right", clock)

    assert site.repository(site.system(), "main").snapshots() == []
    with pytest.raises(WrongPasswordError):
        other = _site(tmp_path, clock, systems=[{**system, "password_file": bad}])
        other.repository(other.system(), "main")
    with pytest.raises(ConfigurationError, match="system hr: password_file is not set"):
        none = _site(tmp_path, clock, systems=[{"name": "hr"}])
        none.repository(none.system(), "main")


def test_keys_and_roots_that_are_not_configured_are_named(tmp_path: Path, clock: FakeClock) -> None:
    site = _site(tmp_path, clock)

    with pytest.raises(ConfigurationError, match=r"signing\.evidence_key_file is not set"):
        site.signer(Purpose.EVIDENCE)
    with pytest.raises(ConfigurationError, match=r"signing\.roots_file is not set"):
        site.trusted()


def test_keys_and_roots_are_read_from_where_the_configuration_says(tmp_path: Path, clock: FakeClock) -> None:
    signer = Signer.generate(Purpose.COMMIT)
    signer.save(tmp_path / "commit.key")
    TrustedKeys([signer.public()]).save(tmp_path / "roots.yaml")
    signing = {"commit_key_file": tmp_path / "commit.key", "roots_file": tmp_path / "roots.yaml"}
    site = _site(tmp_path, clock, signing=signing)

    assert site.signer(Purpose.COMMIT).key_id == signer.key_id
    assert [key.key_id for key in site.trusted()] == [signer.key_id]
