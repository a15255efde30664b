"""Every parser of the repository is fed damaged and invented input, and raises nothing but errors of ours.

The short runs go through the same seeded mutations each time; ``make soak`` gives each parser
``GOVSEC_SOAK_SECONDS`` (600) of processor time and prints the seed with which a failure comes again.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from govsec.crypto.document import open_document, sign_document
from govsec.crypto.keyfile import KdfParameters, create_key_file, open_key_file, read_key_file_info
from govsec.crypto.restic import MasterKey, ResticSuite
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import GovsecError, IntegrityError, WrongPasswordError
from govsec.repo.codec import Codec
from govsec.repo.indexbuild import IndexBuilder
from govsec.repo.indexfile import decode_index, encode_index
from govsec.repo.lock import list_locks
from govsec.repo.pack import ROW, BlobType, parse_header, read_header
from govsec.repo.packer import PackBuilder
from govsec.repo.settings import decode_config, encode_config, new_config
from govsec.repo.snapshot import Snapshot, Summary, decode_snapshot, encode_snapshot
from govsec.repo.tree import ExtendedAttribute, Node, decode_tree, encode_tree, parse_ns, quote, raw_name, unquote
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from tests.support.soak import seeds

SUITE = ResticSuite(MasterKey.generate())
CODEC = Codec()
SIGNER = Signer.generate(Purpose.COMMIT)
TRUSTED = TrustedKeys([SIGNER.public()])
ID = "ab" * 32
WHEN = "2026-08-01T04:00:00.123456789Z"
#: What parsers stumble over: ends of ranges, quoting, nesting, numbers beyond words, and bytes that are no UTF-8.
_TOKENS = [
    b"", b"\0", b"\xff", b'"', b"\\", b"{", b"}", b"[", b"]", b"[" * 600, b'{"a":' * 600, b"null", b"true", b"-1",
    b"1e999", b"18446744073709551616", b"9223372036854775808", b"4294967296", b"9" * 400, b"0.5", b"\\ud800",
    b"..", b"/", b"\xe2\x80\xa8", b"0" * 64, b"ab" * 32, b"nodes", b"id", b"name", b"content", b"T99:99:99Z", b"+25:00",
    b"\x28\xb5\x2f\xfd", struct.pack("<I", 0xFFFFFFFF), b"\x02", b"\x03",
]  # fmt: skip


@dataclass(frozen=True)
class Parser:
    """One parser, something honest to start from, and the door that hostile bytes come through."""

    name: str
    seed: bytes
    parse: Callable[[bytes], object]


def _tree(data: bytes) -> None:
    tree = decode_tree(data)
    # What is let in has a form of its own and comes back from it.
    assert decode_tree(encode_tree(tree.nodes)) == tree
    for node in tree.nodes:
        name = raw_name(node)
        assert name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name


def _index(data: bytes) -> None:
    builder = IndexBuilder(blobs_max=10_000)
    for pack_id, rows in decode_index(data):
        builder.add_pack(pack_id, rows)
    index = builder.finish()
    assert all(index.find(place.blob_type, place.blob_id) for place in index.locations())


def _lock(data: bytes) -> None:
    store = MemoryStore()
    sealed = SUITE.seal(data)
    store.put(f"locks/{SUITE.digest(sealed).hex()}", sealed)
    for lock in list_locks(store, SUITE):
        if lock.info is None:
            raise IntegrityError("not read, as it should be")
        str(lock.info)


def _sealed_header(data: bytes) -> None:
    sealed = SUITE.seal(data)
    read_header(SUITE, bytes(80) + sealed + struct.pack("<I", len(sealed)))


def _key(data: bytes) -> None:
    kdf = read_key_file_info(data).kdf
    # What is within the bounds may still take seconds, and is not what is tested here.
    if kdf.n * kdf.r * kdf.p <= 4096:
        open_key_file(data, b"right")


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parse(data.decode("utf-8", "replace"))


def _parsers() -> list[Parser]:
    times = {"mtime": WHEN, "atime": WHEN, "ctime": WHEN, "uid": 0, "gid": 0}
    attribute = ExtendedAttribute("user.x", b"v")
    nodes = [
        Node(name=quote(b"\xff\n"), type="file", content=[ID], size=5, extended_attributes=[attribute], **times),
        Node(name=quote(b"a"), type="dir", subtree=ID, **times),
        Node(name=quote(b"b"), type="symlink", linktarget="x", linktarget_raw=b"\xff", **times),
    ]
    nodes.sort(key=raw_name)
    rows = np.array([(bytes([7]) * 32, 0, 40, 0, 0), (bytes([8]) * 32, 40, 99, 1000, 1)], ROW)
    moment = FakeClock().now()
    snapshot = Snapshot(time=moment, tree=ID, paths=("/a",), tags=("t",), parent=ID, summary=Summary(files_new=1))
    builder = PackBuilder(BlobType.DATA, CODEC, SUITE)
    for plain in (b"one" * 100, b"two"):
        builder.add(SUITE.digest(plain), plain)
    pack = builder.finish().data
    header = struct.pack("<BI32s", 0, 40, bytes([7]) * 32) + struct.pack("<BII32s", 3, 40, 99, bytes([8]) * 32)
    lock = {"time": WHEN, "exclusive": True, "hostname": "h", "username": "u", "pid": 1, "uid": 0, "gid": 0}
    key = create_key_file(
        MasterKey.generate(), b"right", hostname="h", username="u", created=moment, kdf=KdfParameters(n=2)
    )
    return [
        Parser("tree", encode_tree(nodes), _tree),
        Parser("name", quote(b'\xff\n"\\\x01\xc2\xa0a').encode(), _text(unquote)),
        Parser("time", WHEN.encode(), _text(parse_ns)),
        Parser("index", encode_index([(bytes([1]) * 32, rows), (bytes([2]) * 32, rows[:1])]), _index),
        Parser("snapshot", encode_snapshot(snapshot), lambda data: decode_snapshot("id", data)),
        Parser("config", encode_config(new_config()), decode_config),
        Parser("pack", pack, lambda data: read_header(SUITE, data)),
        Parser("header", header, parse_header),
        Parser("sealed header", header, _sealed_header),
        Parser("lock", json.dumps(lock).encode(), _lock),
        Parser("frame", CODEC.compress(b"text " * 50), lambda data: CODEC.decompress(data, 5000)),
        Parser("unpacked", CODEC.pack_json(b'{"a":1}'), lambda data: CODEC.unpack_json(data, 5000)),
        Parser("sealed", SUITE.seal(b"plain"), SUITE.open),
        Parser("key", key, _key),
        Parser(
            "document",
            sign_document(SIGNER, {"a": [1, "b"]}),
            lambda data: open_document(TRUSTED, Purpose.COMMIT, data),
        ),
    ]


PARSERS = _parsers()


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """``seed`` with a few changes; sometimes nothing of it is left."""
    if chance.random() < 0.05:
        return chance.randbytes(chance.randrange(200))
    data = bytearray(seed)
    for _ in range(chance.randrange(1, 5)):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice((0, 1, 1, 4, 32, 64)))
        kind = chance.randrange(5)
        if kind == 0:
            data[start:end] = chance.choice(_TOKENS)
        elif kind == 1:
            data[start:end] = chance.randbytes(end - start)
        elif kind == 2:
            del data[start:end]
        elif kind == 3:
            data[start:start] = data[start:end] * chance.choice((1, 1, 2, 50))
        elif data:
            data[min(start, len(data) - 1)] ^= 1 << chance.randrange(8)
    return bytes(data[: chance.randrange(len(data) + 1)] if chance.random() < 0.1 else data)


def feed(parser: Parser, data: bytes, seed: int) -> bool:
    """Whether the parser let ``data`` in."""
    try:
        parser.parse(data)
    except GovsecError as error:
        assert isinstance(error, (IntegrityError, WrongPasswordError)), f"{parser.name}, seed {seed}: {error!r}"
        return False
    except Exception as error:
        raise AssertionError(f"{parser.name}, seed {seed}: {error!r} from {data!r}") from error
    return True


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_the_honest_input_is_let_in(parser: Parser) -> None:
    assert feed(parser, parser.seed, 0)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_truncated_input_raises_only_our_errors(parser: Parser) -> None:
    for size in range(len(parser.seed)):
        feed(parser, parser.seed[:size], size)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_mutated_input_raises_only_our_errors(parser: Parser) -> None:
    refused_count = sum(not feed(parser, mutated(parser.seed, random.Random(seed)), seed) for seed in range(800))
    assert refused_count > 50


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_ten_minutes_of_mutated_input_raise_only_our_errors(parser: Parser) -> None:
    for seed in seeds(parser.name):
        feed(parser, mutated(parser.seed, random.Random(seed)), seed)
