"""Everything that is read from centers, servers and files of others, besides the repository's own formats.

Commits, checkpoints, releases and ledger entries are mutated inside and signed anew with a pinned key, as whoever stole
that key would. YAML and JSON files are mutated as bytes. An S3 server answers nonsense. Only errors of
ours come out. The short runs repeat the same seeds; ``make soak`` gives each parser ``GOVSEC_SOAK_SECONDS`` (600) and
prints the seed it begins from. The repository's own parsers have the same in ``tests/repo/test_fuzz.py``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from govsec import canonical
from govsec.backup.witness import Nonce, Sample, Witness, load_witness, save_witness
from govsec.centers import names
from govsec.centers.checkpoints import Checkpoint, open_checkpoint
from govsec.centers.commits import Commit, NameSet, SnapshotRef, iterate_names, open_commit, split_names
from govsec.centers.pause import pause, read_pause
from govsec.centers.quarantine import put_back, quarantine
from govsec.centers.records import FolderRecord, VerificationRecord, read_record
from govsec.centers.releases import Release, read_releases
from govsec.centers.state import States
from govsec.config import Mode, S3StoreConfig, load_config
from govsec.crypto.document import sign_document
from govsec.crypto.restic import MasterKey, ResticSuite
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.drill.plan import load_plan
from govsec.errors import GovsecError, StoreError
from govsec.ledger.entry import SCHEMA, decode
from govsec.store.credentials import Credentials, read_credentials
from govsec.store.memory import MemoryStore
from govsec.store.s3 import S3Store
from govsec.testing.clock import FakeClock
from tests.repo.test_fuzz import mutated
from tests.support.proxy import Proxy, answer
from tests.support.soak import seeds

SHORT_COUNT = 300
#: YAML is read by a parser in Python, some milliseconds a file.
SLOW = {"configuration", "plan", "roots"}
SLOW_COUNT = 60
#: What all inputs of one parser together may add to the process's peak; single inputs have a few kilobytes.
MEMORY_MAX = 256 << 20
CLOCK = FakeClock()
SUITE = ResticSuite(MasterKey.generate())
SIGNERS = {purpose: Signer(purpose, purpose.value[:1].encode() * 32) for purpose in Purpose}
TRUSTED = TrustedKeys([signer.public() for signer in SIGNERS.values()])
DIGEST = "ab" * 32
TIME = "2026-08-01T04:00:00.123456Z"
#: Dates that exist in one zone and not in another, and numbers that fit nowhere.
_TRAPS = (b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59", b"1e400", b"-0", b"2026-02-30T00:00:00Z")


@dataclass(frozen=True)
class Parser:
    """One parser, honest input, and the door that hostile bytes come through."""

    name: str
    seed: bytes
    parse: Callable[[bytes], object]


def _signed(purpose: Purpose, data: bytes) -> bytes:
    """``data`` signed by the right key where it is a JSON object, else as it is."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return data
    if not isinstance(body, dict):
        return data
    try:
        return sign_document(SIGNERS[purpose], body)
    except ValueError:
        return data  # has no canonical form, so nobody can sign it


def _commit(data: bytes) -> None:
    signed = _signed(Purpose.COMMIT, data)
    entry = open_commit(TRUSTED, names.numbered(names.COMMITS, 7, hashlib.sha256(signed).hexdigest()), signed)
    list(iterate_names(MemoryStore(), entry.commit.added))


def _raw_commit(data: bytes) -> None:
    open_commit(TRUSTED, names.numbered(names.COMMITS, 7, hashlib.sha256(data).hexdigest()), data)


def _name_list(data: bytes) -> None:
    store = MemoryStore()
    digest = hashlib.sha256(data).hexdigest()
    store.put(names.LISTS + digest, data)
    lines = data.count(b"\n")
    body = {"digest": digest, "count": max(1, lines), "size_bytes": 200 * lines}
    name_set = {"count": body["count"], "size_bytes": body["size_bytes"], "lists": [body]}
    list(iterate_names(store, NameSet.model_validate_json(json.dumps(name_set))))


def _checkpoint(data: bytes) -> None:
    signed = _signed(Purpose.COMMIT, data)
    open_checkpoint(TRUSTED, names.numbered(names.CHECKPOINTS, 7, hashlib.sha256(signed).hexdigest()), signed)


def _release(data: bytes) -> None:
    store = MemoryStore("remote")
    signed = _signed(Purpose.RELEASE, data)
    store.put(names.RELEASED + hashlib.sha256(signed).hexdigest(), signed)
    list(read_releases(store, TRUSTED, DIGEST))


def _entry(data: bytes) -> None:
    decode(TRUSTED, _signed(Purpose.EVIDENCE, data))


def _witness(data: bytes) -> None:
    store = MemoryStore()
    sealed = SUITE.seal(data)
    name = names.WITNESSES + hashlib.sha256(sealed).hexdigest()
    store.put(name, sealed)
    load_witness(store, SUITE, name)


def _stored(name: str, read: Callable[[MemoryStore], object]) -> Callable[[bytes], None]:
    def parse(data: bytes) -> None:
        store = MemoryStore("remote")
        store.put(name, data)
        read(store)

    return parse


def _file(directory: Path, read: Callable[[Path], object]) -> Callable[[bytes], None]:
    path = directory / "file"

    def parse(data: bytes) -> None:
        path.write_bytes(data)
        path.chmod(0o600)
        read(path)

    return parse


def _put_back(store: MemoryStore) -> None:
    put_back(store, DIGEST)


def _json(model: Commit | Checkpoint | Release | VerificationRecord) -> bytes:
    return json.dumps(model.model_dump(mode="json")).encode()


def _named() -> NameSet:
    return split_names([(f"data/ab/{DIGEST}", 100), (f"index/{DIGEST}", 50), (f"snapshots/{DIGEST}", 20)])[0]


def _seed_of(store: MemoryStore, prefix: str) -> bytes:
    name = next(info.name for info in store.list(prefix))
    return store.get(name, size_max=1 << 20)


def _parsers(directory: Path) -> dict[str, Parser]:
    now = CLOCK.now()
    commit = Commit(
        repository=DIGEST,
        number=7,
        previous=DIGEST,
        epoch=1,
        time=now,
        snapshot=SnapshotRef(id=DIGEST, time=now),
        witness=DIGEST,
        added=_named(),
        mode=Mode.MAXIMUM_AVAILABILITY,
        reached="synced",
        held_by=("production", "same_city"),
    )
    checkpoint = Checkpoint(
        repository=DIGEST, number=7, commit=DIGEST, epoch=1, time=now, added=_named(), released=NameSet()
    )
    release = Release(repository=DIGEST, center="remote", time=now, through=7, names=_named())
    entry = {
        "schema": SCHEMA,
        "chain": SIGNERS[Purpose.EVIDENCE].key_id,
        "number": 1,
        "previous": "0" * 64,
        "written": TIME,
        "evidence": {"kind": "drill.result", "time": TIME, "subject": "oa", "facts": {"rto_s": 12.5, "ok": True}},
    }
    kept = MemoryStore("remote")
    witness = Witness(DIGEST, now, Nonce(b"/a/\xff", DIGEST), (Sample("/文件".encode(), 5, DIGEST),))
    save_witness(kept, SUITE, witness)
    pause(kept, CLOCK, by="Li Na", reason="disks", duration_s=3600)
    kept.put(f"index/{DIGEST}", b"junk")
    quarantine(kept, [f"index/{DIGEST}"], clock=CLOCK)
    record = VerificationRecord(time=now, damaged=("data/a",), damaged_count=1, folders={"data/ab/": FolderRecord()})
    states = States(CLOCK, directory / "states.json")
    states.failed("same_city", "timed out")
    signed = sign_document(SIGNERS[Purpose.COMMIT], commit.model_dump(mode="json"))
    roots = directory / "roots.yaml"
    TRUSTED.save(roots)
    plan = Path("tests/story/plan.yaml").read_bytes()
    manifest = f"{names.QUARANTINE}{DIGEST}/manifest"
    found = [
        Parser("commit", _json(commit), _commit),
        Parser("commit as bytes", signed, _raw_commit),
        Parser("list of names", f"data/ab/{DIGEST} 200\nindex/{DIGEST} 200\n".encode(), _name_list),
        Parser("checkpoint", _json(checkpoint), _checkpoint),
        Parser("release", _json(release), _release),
        Parser("ledger entry", json.dumps(entry).encode(), _entry),
        Parser("witness", SUITE.open(_seed_of(kept, names.WITNESSES)), _witness),
        Parser(
            "verification record",
            _json(record),
            _stored(f"{names.VERIFIED}center-{DIGEST}", lambda store: read_record(store, now)),
        ),
        Parser("pause", _seed_of(kept, names.PAUSED), _stored(names.PAUSED, lambda store: read_pause(store, CLOCK))),
        Parser("manifest", _seed_of(kept, names.QUARANTINE), _stored(manifest, _put_back)),
        Parser("states", (directory / "states.json").read_bytes(), _file(directory, lambda path: States(CLOCK, path))),
        Parser("plan", plan, _file(directory, load_plan)),
        Parser("configuration", Path("agents/config/production.yaml").read_bytes(), _file(directory, load_config)),
        Parser("roots", roots.read_bytes(), _file(directory, TrustedKeys.load)),
        Parser(
            "signing key",
            b'{"purpose":"commit","private":"' + b"A" * 43 + b'="}',
            _file(directory, lambda path: Signer.load(path, Purpose.COMMIT)),
        ),
        Parser(
            "credentials",
            b'{"access_key": "someone", "secret_key": "something"}',
            _file(directory, read_credentials),
        ),
        Parser("canonical JSON", canonical.dumps(entry), _canonical),
    ]
    return {parser.name: parser for parser in found}


def _canonical(data: bytes) -> None:
    # The one parser below the tree of errors: it promises ValueError, and its callers translate.
    try:
        canonical.loads(data)
    except ValueError as error:
        raise GovsecError(str(error)) from error


NAMES = (
    "commit",
    "commit as bytes",
    "list of names",
    "checkpoint",
    "release",
    "ledger entry",
    "witness",
    "verification record",
    "pause",
    "manifest",
    "states",
    "plan",
    "configuration",
    "roots",
    "signing key",
    "credentials",
    "canonical JSON",
)


@pytest.fixture(params=NAMES)
def parser(request: pytest.FixtureRequest, tmp_path: Path) -> Parser:
    found = _parsers(tmp_path)
    assert found.keys() == set(NAMES)
    logging.getLogger("govsec").setLevel(logging.CRITICAL)
    request.addfinalizer(lambda: logging.getLogger("govsec").setLevel(logging.NOTSET))
    return found[request.param]


def feed(parser: Parser, data: bytes, seed: int) -> bool:
    """Whether the parser let ``data`` in; anything but an error of ours is a failure that names the seed."""
    try:
        parser.parse(data)
    except GovsecError:
        return False
    except Exception as error:
        raise AssertionError(f"{parser.name}, seed {seed}: {error!r} from {data[:2000]!r}") from error
    return True


def _invented(parser: Parser, seed: int) -> bytes:
    rng = random.Random(seed)
    data = mutated(parser.seed, rng)
    for trap in _TRAPS:
        if rng.random() < 0.03:
            # In place of a time or a number, whole: that is where such a value is looked at.
            start = data.find(b"2026-") if trap[:1].isdigit() and len(trap) > 8 else data.find(b"7")
            if start >= 0:
                end = next((at for at in range(start, len(data)) if data[at : at + 1] in b'",}'), len(data))
                data = data[:start] + trap + data[end:]
    return data


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_the_honest_input_is_let_in_and_no_beginning_of_it_breaks_anything(parser: Parser) -> None:
    assert parser.name == "manifest" or feed(parser, parser.seed, 0)
    steps_count = SLOW_COUNT if parser.name in SLOW else SHORT_COUNT
    for size in range(0, len(parser.seed), 1 + len(parser.seed) // steps_count):
        feed(parser, parser.seed[:size], size)


def test_mutated_input_raises_only_our_errors_within_bounded_memory(parser: Parser) -> None:
    before = _peak_bytes()
    for seed in range(SLOW_COUNT if parser.name in SLOW else SHORT_COUNT):
        feed(parser, _invented(parser, seed), seed)
    assert _peak_bytes() - before < MEMORY_MAX


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_ten_minutes_of_mutated_input_raise_only_our_errors_within_bounded_memory(parser: Parser) -> None:
    before = _peak_bytes()
    for seed in seeds(parser.name):
        feed(parser, _invented(parser, seed), seed)
    assert _peak_bytes() - before < MEMORY_MAX


_LISTING = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix>data/</Prefix>
<KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated><Contents><Key>data/ab</Key>
<LastModified>2026-08-01T04:00:00.000Z</LastModified><ETag>"x"</ETag><Size>7</Size></Contents></ListBucketResult>"""
_ERROR = b"""<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code><Message>none</Message></Error>"""


@pytest.fixture
def server() -> Iterator[tuple[Proxy, S3Store]]:
    with Proxy() as proxy:
        config = S3StoreConfig(
            kind="s3", endpoint=proxy.url, bucket="bucket", connect_timeout_s=2, read_timeout_s=2, connections_max=1
        )
        yield proxy, S3Store(config, Credentials("nobody", "nothing"), name="remote")


def _ask(proxy: Proxy, store: S3Store, seed: int) -> None:
    rng = random.Random(seed)
    is_error = rng.random() < 0.5
    status = rng.choice(["404 No", "403 No", "500 No", "503 Slow", "400 Bad", "409 No"]) if is_error else "200 OK"
    proxy.behaviour = answer(status, mutated(_ERROR if is_error else _LISTING, rng), Content_Type="application/xml")
    calls: list[Callable[[], object]] = [
        lambda: list(store.list("data/")),
        lambda: store.get("data/ab", size_max=1 << 20),
        lambda: store.head("data/ab"),
        lambda: store.put("data/ab", b"x"),
        lambda: store.delete("data/ab"),
    ]
    try:
        rng.choice(calls)()
    except GovsecError:
        pass
    except Exception as error:
        raise AssertionError(f"seed {seed}: {error!r}") from error


#: What botocore parses times with warns of such zones; the time is refused afterwards.
_UNKNOWN_ZONE = pytest.mark.filterwarnings("ignore::dateutil.parser.UnknownTimezoneWarning")


@_UNKNOWN_ZONE
def test_nonsense_from_an_s3_server_raises_only_our_errors(server: tuple[Proxy, S3Store]) -> None:
    for seed in range(100):
        _ask(*server, seed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<Key>data/ab</Key>", b""),
        (b"2026-08-01T04:00:00.000Z", b"20" + b"9" * 400 + b"-01T04:00:00.000Z"),
        (b"2026-08-01T04:00:00.000Z", b"0001-01-01T00:00:00+14:00"),
        (b"2026-08-01T04:00:00.000Z", b"2026-08-01T04:00:00.000J"),
    ],
    ids=["no name", "no time", "a time before the first year", "a zone that nobody knows"],
)
@_UNKNOWN_ZONE
def test_an_entry_of_a_listing_that_makes_no_sense_is_an_error_of_the_store(
    server: tuple[Proxy, S3Store], old: bytes, new: bytes
) -> None:
    proxy, store = server
    assert old in _LISTING
    proxy.behaviour = answer("200 OK", _LISTING.replace(old, new), Content_Type="application/xml")
    with pytest.raises(StoreError, match="remote: list data/"):
        list(store.list("data/"))


@pytest.mark.soak
@pytest.mark.timeout(0)
@_UNKNOWN_ZONE
def test_ten_minutes_of_nonsense_from_an_s3_server_raise_only_our_errors(server: tuple[Proxy, S3Store]) -> None:
    for seed in seeds("S3"):
        _ask(*server, seed)
