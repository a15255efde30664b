"""Passwords: added, changed and removed so that the repository is never locked out, whatever lies in ``keys/``."""

from __future__ import annotations

import hashlib
import json

import pytest

from govsec.crypto.keyfile import KdfParameters
from govsec.crypto.restic import MasterKey, ResticSuite
from govsec.errors import GovsecError, ObjectNotFoundError, RefusedError, UsageError, WrongPasswordError
from govsec.repo.keys import KeySearch, add_key, change_password, find_master_key, list_keys, remove_key, resolve_key
from govsec.repo.repository import Repository, WritableRepository
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from govsec.testing.faults import FaultKind, FaultStore, Killed, Moment, sweep
from tests.repo.small import FAST_KDF, PASSWORD, copied, new_repository

NEW = "新的口令".encode()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore, clock: FakeClock) -> WritableRepository:
    return new_repository(store, clock)


@pytest.fixture
def master(repository: WritableRepository) -> MasterKey:
    assert isinstance(repository.suite, ResticSuite)
    return repository.suite.master


def plant(store: MemoryStore, data: bytes) -> str:
    """A file in ``keys/`` whose name is right."""
    key_id = hashlib.sha256(data).hexdigest()
    store.put(f"keys/{key_id}", data)
    return key_id


def test_two_passwords_open_one_master_key(store: MemoryStore, master: MasterKey, clock: FakeClock) -> None:
    added = add_key(store, master, NEW, clock, hostname="host", username="user", kdf=FAST_KDF)
    assert find_master_key(store, PASSWORD)[0] == find_master_key(store, NEW)[0] == master
    (key,) = [key for key in list_keys(store) if key.id == added]
    assert key.info is not None and (key.info.hostname, key.info.username) == ("host", "user")
    assert key.info.kdf == FAST_KDF


def test_the_cost_of_a_new_password_is_what_restic_takes() -> None:
    assert KdfParameters() == KdfParameters(n=32768, r=8, p=1)


def test_a_changed_password_replaces_the_old_one(
    repository: WritableRepository, store: MemoryStore, master: MasterKey, clock: FakeClock
) -> None:
    changed = change_password(store, master, NEW, clock, used_key_id=repository.key_id, kdf=FAST_KDF)
    assert [key.id for key in list_keys(store)] == [changed]
    assert find_master_key(store, NEW) == (master, changed)
    with pytest.raises(WrongPasswordError):
        Repository.open(store, PASSWORD)


def test_the_key_that_opened_the_repository_is_not_removed_so_the_last_one_never_is(
    repository: WritableRepository, store: MemoryStore, master: MasterKey, clock: FakeClock
) -> None:
    with pytest.raises(RefusedError):
        remove_key(store, repository.key_id, used_key_id=repository.key_id)
    added = add_key(store, master, NEW, clock, kdf=FAST_KDF)
    remove_key(store, added, used_key_id=repository.key_id)
    assert [key.id for key in list_keys(store)] == [repository.key_id]
    with pytest.raises(RefusedError):
        remove_key(store, added, used_key_id=repository.key_id)


def test_an_id_is_named_by_its_first_digits(repository: WritableRepository, store: MemoryStore) -> None:
    assert resolve_key(store, repository.key_id[:8]) == repository.key_id
    for digits in ("", "abc", "zzzzzzzz", repository.key_id + "0"):
        with pytest.raises(UsageError):
            resolve_key(store, digits)


def test_an_empty_password_is_refused(store: MemoryStore, master: MasterKey, clock: FakeClock) -> None:
    with pytest.raises(WrongPasswordError):
        add_key(store, master, b"", clock)


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("kind", [FaultKind.ERROR, FaultKind.KILL, FaultKind.LIE])
def test_stopped_anywhere_a_change_leaves_a_password_that_opens(
    repository: WritableRepository, store: MemoryStore, master: MasterKey, kind: FaultKind, moment: Moment
) -> None:
    for faults in sweep(kind, moment):
        clean = copied(store)
        broken = FaultStore(clean, faults)
        try:
            change_password(broken, master, NEW, FakeClock(), used_key_id=repository.key_id, kdf=FAST_KDF)
        except (GovsecError, Killed):
            faults.assert_injected()
        opened = 0
        for password in (PASSWORD, NEW):
            try:
                assert find_master_key(clean, password)[0] == master
                opened += 1
            except WrongPasswordError:
                pass
        assert opened, faults


JUNK = {
    "another derivation": {"kdf": "argon2id", "N": 2, "r": 1, "p": 1},
    "scrypt that takes a terabyte": {"kdf": "scrypt", "N": 1 << 32, "r": 8, "p": 1},
    "scrypt that takes a year": {"kdf": "scrypt", "N": 2, "r": 1, "p": (1 << 30) - 1},
    "scrypt with numbers that are none": {"kdf": "scrypt", "N": "32768", "r": None, "p": 1.5},
    "scrypt with impossible numbers": {"kdf": "scrypt", "N": 3, "r": 0, "p": -1},
    "a list": [],
}


@pytest.mark.parametrize("what", sorted(JUNK))
def test_junk_that_sorts_before_the_right_key_keeps_nobody_out(
    repository: WritableRepository, store: MemoryStore, what: str
) -> None:
    number = 0
    while True:  # somebody who plants a file can try until its digest sorts first
        fields = JUNK[what]
        body = {**fields, "salt": "", "data": "", "n": number} if isinstance(fields, dict) else [number]
        data = json.dumps(body).encode()
        if hashlib.sha256(data).hexdigest() < repository.key_id:
            break
        number += 1
    junk = plant(store, data)
    assert sorted([junk, repository.key_id])[0] == junk
    assert Repository.open(store, PASSWORD).key_id == repository.key_id
    with pytest.raises(WrongPasswordError):
        Repository.open(store, b"wrong")
    listed = {key.id: key.info for key in list_keys(store)}
    assert set(listed) == {junk, repository.key_id}


def test_files_that_are_too_large_or_not_what_their_name_says_are_passed_over(
    repository: WritableRepository, store: MemoryStore
) -> None:
    plant(store, b"{" + b" " * (1 << 20))
    good = store.get(f"keys/{repository.key_id}", size_max=1 << 16)
    store.put("keys/" + "0" * 64, good)
    store.put("keys/README", b"")
    assert [key.id for key in list_keys(store)] == [repository.key_id]
    assert Repository.open(store, PASSWORD).key_id == repository.key_id


def test_dear_files_are_tried_after_cheap_ones_and_only_as_long_as_they_are_paid(
    repository: WritableRepository, store: MemoryStore
) -> None:
    fields = json.loads(store.get(f"keys/{repository.key_id}", size_max=1 << 16))
    for number in range(30):  # a quarter of a gigabyte and some ten seconds each, which nobody should have to pay
        plant(store, json.dumps({**fields, "N": 1 << 18, "r": 8, "p": 8, "username": str(number)}).encode())
    assert Repository.open(store, PASSWORD).key_id == repository.key_id
    with pytest.raises(WrongPasswordError, match="1 tried"):
        Repository.open(store, b"wrong")


def test_a_flood_of_cheap_files_keeps_nobody_out(
    repository: WritableRepository, store: MemoryStore, clock: FakeClock
) -> None:
    stranger = MasterKey.generate()
    for _ in range(100):
        add_key(store, stranger, b"another password", clock, kdf=KdfParameters(n=2, r=1, p=1))
    assert Repository.open(store, PASSWORD).key_id == repository.key_id


def test_a_hint_is_tried_before_anything_else(
    repository: WritableRepository, store: MemoryStore, master: MasterKey, clock: FakeClock
) -> None:
    dear = add_key(store, master, PASSWORD, clock, kdf=KdfParameters(n=4096, r=8, p=1))
    assert Repository.open(store, PASSWORD, key_hint=dear).key_id == dear
    assert Repository.open(store, PASSWORD).key_id == repository.key_id


def test_where_no_key_file_is_there_is_no_repository() -> None:
    with pytest.raises(ObjectNotFoundError):
        find_master_key(MemoryStore(), PASSWORD)


def test_a_key_that_is_searched_for_ahead_opens_the_repository(
    repository: WritableRepository, store: MemoryStore, master: MasterKey
) -> None:
    opened = Repository.opened(KeySearch(MemoryStore("empty"), PASSWORD, fallbacks=[store]))
    assert (opened.key_id, opened.config) == (repository.key_id, repository.config)
    assert opened.suite.open(repository.suite.seal(b"x")) == b"x"


def test_what_the_search_for_a_key_met_is_raised_where_the_repository_is_asked_for(
    repository: WritableRepository, store: MemoryStore
) -> None:
    search = KeySearch(store, b"not the password")
    for _ in range(2):
        with pytest.raises(WrongPasswordError):
            Repository.opened(search)
