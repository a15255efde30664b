"""``make demo-s3``: the demo on three real SeaweedFS servers with object lock, and an attack before the disaster.

    python -m tests.support.demo_s3

The three servers stand for three sites; one configuration plays all three here, so it holds credentials that no single
site would have. Before production and same-city are killed, production's stolen credential deletes and overwrites all
that it can reach at same-city; what it covers is healed by the center's own credential.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from botocore.exceptions import ClientError

from govsec.assemble import demo
from govsec.assemble.care import heal_center, lock_at
from govsec.assemble.probes import probe_center
from govsec.assemble.systems import Site
from govsec.clock import SystemClock
from govsec.config import load_config
from govsec.errors import GovsecError
from govsec.report.catalog import Catalogue
from govsec.store.api import ReadStore
from tests.store.city import policy_of_the_guide
from tests.support.authority import make_authority
from tests.support.servers import Identity, S3Server, start_seaweed

_OBJECT_SIZE_MAX = 1 << 30


@dataclass(frozen=True)
class City:
    """The three servers and their buckets."""

    servers: Mapping[str, S3Server]
    buckets: Mapping[str, str]

    def kill(self) -> None:
        for server in self.servers.values():
            server.kill()


def start_city(directory: Path) -> City:
    """Three servers, each with a bucket; same-city's and the remote one's have object lock and the guide's policy."""
    authority = make_authority(directory / "authority")
    servers, buckets = {}, {}
    for name in ("main", "near", "far"):
        servers[name] = server = start_seaweed(directory / name, authority)
        buckets[name] = server.new_bucket(is_locked=name != "main")
        if name == "near":
            policy = policy_of_the_guide(server, buckets[name])
            server.client().put_bucket_policy(Bucket=buckets[name], Policy=policy)
    return City(servers, buckets)


def centers(city: City, keys: Path) -> dict[str, object]:
    """The centers as the configuration writes them."""
    written: dict[str, object] = {}
    for name, role in demo.CENTERS.items():
        server = city.servers[name]
        own = server.production if name == "near" else server.owner
        written[name] = {
            "role": role,
            "store": {
                "kind": "s3",
                "endpoint": server.https,
                "bucket": city.buckets[name],
                "ca_bundle": str(server.ca),
                "attempts_max": 3,
            },
            "credentials_file": str(_credential(own, keys / f"{name}-write")),
        }
        if name != "main":
            written[name] |= {  # type: ignore[operator]  # a dict, as made above
                "owner_credentials_file": str(_credential(server.owner, keys / f"{name}-owner")),
                "object_lock": {"days": 1, "mode": "compliance"},
            }
    return written


def attack(server: S3Server, bucket: str) -> dict[str, int]:
    """Delete, erase and overwrite with production's stolen credential; how each came out.

    Locks are left out: they are production's own to remove.
    """
    client = server.client(server.production)
    counts = dict.fromkeys(("delete denied", "deleted", "erase denied", "erased", "overwrite denied", "covered"), 0)
    for entry in server.client().list_object_versions(Bucket=bucket).get("Versions", []):
        if "/locks/" in entry["Key"]:
            continue
        where = {"Bucket": bucket, "Key": entry["Key"]}
        for answer, call in (
            (("delete denied", "deleted"), partial(client.delete_object, **where)),
            (("erase denied", "erased"), partial(client.delete_object, **where, VersionId=entry["VersionId"])),
            (("overwrite denied", "covered"), partial(client.put_object, **where, Body=b"ransom")),
        ):
            counts[answer[_succeeds(call)]] += 1
    return counts


def covered_names(store: ReadStore, other: ReadStore) -> list[str]:
    """The objects that are not what they should be, found without any of the code that heals."""
    config = [center.get("config", size_max=_OBJECT_SIZE_MAX) for center in (store, other)]
    found = [] if config[0] == config[1] else ["config"]
    for info in store.list(""):
        digest = info.name.rpartition("/")[2].rpartition("-")[2]
        if len(digest) == 64 and sha256(store.get(info.name, size_max=_OBJECT_SIZE_MAX)).hexdigest() != digest:
            found.append(info.name)
    return found


def main() -> int:
    """Run it; 0 when nothing was erased and the drill passed."""
    directory = demo.make_directory(None)
    clock = SystemClock()
    began = clock.monotonic()
    words = Catalogue("demo", "en")

    def say(line: str) -> None:
        sys.stderr.write(f"[{clock.monotonic() - began:5.1f} s] {line}\n")

    say("Starting three SeaweedFS servers")
    with tempfile.TemporaryDirectory(prefix="govsec-s3-", ignore_cleanup_errors=True) as servers_directory:
        city = start_city(Path(servers_directory))
        try:
            source = directory / "system"
            source.mkdir()
            keys = directory / "credentials"
            keys.mkdir(mode=0o700)
            config = demo.write_site(directory, centers(city, keys), source)
            site = Site(load_config(config), clock)
            system = site.system()
            lost: list[str] = []

            def lose() -> None:
                for name in ("near", "far"):
                    locked = lock_at(site, system, name)
                    say(f"Object lock at {name}: {locked.extended_count} objects until {locked.until:%Y-%m-%d %H:%M}")
                probed = probe_center(site, system, "near")
                say(f"Probe of near with production's credential: protected = {probed.is_protected}")
                counts = attack(city.servers["near"], city.buckets["near"])
                say(f"Production's stolen credential at near: {counts}")
                heal_center(site, system, "near")
                lost.extend(covered_names(site.read_store(system, "near"), site.read_store(system, "far")))
                say(f"Healed with near's own credential: {len(lost)} objects are still covered")
                if counts["erased"] or counts["deleted"]:
                    lost.append("erased by production")
                for name in ("main", "near"):
                    city.servers[name].kill()
                source.rename(directory / "system.lost")

            result = demo.run_demo(
                config, source, clock, tell=lambda key, facts: say(words.text(key, facts)), lose=lose
            )
        finally:
            city.kill()
    for path in result.reports:
        sys.stdout.write(f"{path}\n")
    return 0 if result.is_passed and not lost else 1


def _credential(identity: Identity, path: Path) -> Path:
    return identity.write_file(path)


def _succeeds(call: Callable[[], object]) -> bool:
    try:
        call()
    except ClientError:
        return False
    return True


if __name__ == "__main__":
    try:
        sys.exit(main())
    except GovsecError as error:
        sys.exit(f"demo-s3: {error}")
