"""Real S3 servers on loopback, started by the tests themselves: SeaweedFS and Ceph RGW, over http and https.

Every server has three identities: ``owner`` (the center's own), ``production`` (no rights but what a bucket policy
grants), ``reader`` (likewise). A server is stopped by the pids that were started here, with SIGKILL; ``setpriv`` makes
them die with the test process too.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.authority import Authority
from tests.support.require import require, require_root

_START_TIMEOUT_S = 60
_POLL_S = 0.1


@dataclass(frozen=True)
class Identity:
    """One access key; ``principal`` is how bucket policies name it."""

    name: str
    access_key: str
    secret_key: str
    principal: str

    def write_file(self, path: Path) -> Path:
        """The credentials file that govsec reads."""
        path.write_text(json.dumps({"access_key": self.access_key, "secret_key": self.secret_key}))
        path.chmod(0o600)
        return path


@dataclass
class S3Server:
    """A running server. ``front`` is the process that speaks S3: stop it with SIGSTOP and the center hangs."""

    kind: str
    version: str
    directory: Path
    http: str
    https: str
    ca: Path
    identities: Mapping[str, Identity]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    front_name: str = ""
    #: A plain bucket of the owner; tests keep apart by prefix.
    bucket: str = "govsec-plain"

    @property
    def owner(self) -> Identity:
        return self.identities["owner"]

    @property
    def production(self) -> Identity:
        return self.identities["production"]

    @property
    def reader(self) -> Identity:
        return self.identities["reader"]

    def endpoint(self, scheme: str = "http") -> str:
        return {"http": self.http, "https": self.https}[scheme]

    def client(self, identity: Identity | None = None, scheme: str = "http") -> Any:
        """A plain boto3 client, for what govsec itself never does (policies, forging, attacks)."""
        who = identity or self.owner
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint(scheme),
            region_name="us-east-1",
            aws_access_key_id=who.access_key,
            aws_secret_access_key=who.secret_key,
            verify=str(self.ca),
            config=Config(
                s3={"addressing_style": "path"},
                connect_timeout=60,
                read_timeout=60,
                retries={"total_max_attempts": 1},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                proxies={},
            ),
        )

    def new_bucket(self, *, is_locked: bool = False, policy: Mapping[str, Any] | None = None) -> str:
        """A new bucket of the owner; ``is_locked`` makes it versioned with object lock."""
        client = self.client()
        bucket = f"govsec-{uuid.uuid4().hex[:12]}"
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=is_locked)
        if is_locked:
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        if policy is not None:
            client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy).replace("${bucket}", bucket))
        return bucket

    def suspend(self) -> None:
        """The server hangs: connections are taken, nothing is answered."""
        self.processes[self.front_name].send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.processes[self.front_name].send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill every process of the server and wait until it is gone."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait(timeout=30)
        self.processes.clear()


def start_seaweed(directory: Path, authority: Authority) -> S3Server:
    """SeaweedFS on free loopback ports; returns when a put succeeded."""
    weed = require("seaweedfs")
    # Twelve zeros are the account of every identity that has none; without them the policy matches nobody.
    identities = _identities("arn:aws:iam::000000000000:user/{}")
    for folder in ("data", "log"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    actions = {"owner": ["Admin", "Read", "Write", "List", "Tagging"]}
    config = {
        "identities": [
            {
                "name": who.name,
                "credentials": [{"accessKey": who.access_key, "secretKey": who.secret_key}],
                "actions": actions.get(who.name, []),
            }
            for who in identities.values()
        ]
    }
    (directory / "s3.json").write_text(json.dumps(config))
    ports = _free_ports(9)
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
    argv = [str(weed), f"-logdir={directory / 'log'}", "-alsologtostderr=false", "server"]
    argv += [f"-{name}={port}" for name, port in zip(names, ports, strict=False)]
    http, https, grpc = ports[6:]
    argv += [
        f"-dir={directory / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=256",
        "-master.electionTimeout=1s",
        "-master.heartbeatInterval=100ms",
        "-master.raftBootstrap=false",
        "-volume.max=200",
        "-volume.preStopSeconds=0",
        "-filer",
        f"-filer.localSocket={directory / 'filer.sock'}",
        "-filer.exposeDirectoryData=false",
        # Without it anybody on the machine can delete locked objects through the filer's own http door.
        "-filer.disableHttp",
        "-s3",
        f"-s3.port={http}",
        f"-s3.port.https={https}",
        f"-s3.port.grpc={grpc}",
        f"-s3.cert.file={authority.certificate}",
        f"-s3.key.file={authority.key}",
        f"-s3.config={directory / 's3.json'}",
        f"-s3.localSocket={directory / 's3.sock'}",
        "-s3.allowDeleteBucketNotEmpty=false",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
    version = subprocess.run([str(weed), "version"], capture_output=True, text=True, timeout=30).stdout.split("\n")[0]
    server = S3Server(
        kind="seaweed",
        version=version,
        directory=directory,
        http=f"http://127.0.0.1:{http}",
        https=f"https://127.0.0.1:{https}",
        ca=authority.ca,
        identities=identities,
        front_name="weed",
    )
    server.processes["weed"] = _spawn(argv, directory / "weed.out", {"GOMEMLIMIT": "400MiB"})
    return _until_serving(server)


def start_ceph(directory: Path, authority: Authority) -> S3Server:
    """One Ceph monitor, one OSD in memory and one RADOS gateway; returns when a put succeeded."""
    require("ceph")
    require_root()
    for folder in ("mon", "osd", "run", "log"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    mon_v2, mon_v1, http, https = _free_ports(4)
    osd_first = _free_range(20)
    fsid = str(uuid.uuid4())
    conf = directory / "ceph.conf"
    conf.write_text(
        _CEPH_CONF.format(
            fsid=fsid,
            d=directory,
            mon_v2=mon_v2,
            mon_v1=mon_v1,
            osd_first=osd_first,
            osd_last=osd_first + 19,
            http=http,
            https=https,
            pem=authority.certificate_and_key,
        )
    )
    server = S3Server(
        kind="ceph",
        version=_run(["radosgw", "--version"]).strip(),
        directory=directory,
        http=f"http://127.0.0.1:{http}",
        https=f"https://127.0.0.1:{https}",
        ca=authority.ca,
        identities=_identities("arn:aws:iam:::user/{}"),
        front_name="rgw",
    )
    try:
        _start_ceph_daemons(server, conf, fsid, f"[v2:127.0.0.1:{mon_v2},v1:127.0.0.1:{mon_v1}]", http)
    except BaseException:
        server.kill()
        raise
    return _until_serving(server)


def _start_ceph_daemons(server: S3Server, conf: Path, fsid: str, monitor: str, http: int) -> None:
    directory = server.directory
    c = ["-c", str(conf)]
    monmap = directory / "monmap"
    _run(["monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", monitor, str(monmap)])
    _run(["ceph-mon", *c, "--mkfs", "-i", "a", "--monmap", str(monmap)])
    mon = ["ceph-mon", *c, "-f", "-i", "a", "--public-addr", "127.0.0.1"]
    server.processes["mon"] = _spawn(mon, directory / "mon.out")
    _until("the Ceph monitor", lambda: _succeeds(["ceph", *c, "--connect-timeout", "2", "mon", "stat"]))
    osd_id = str(uuid.uuid4())
    _run(["ceph", *c, "osd", "new", osd_id])
    _run(["ceph-osd", *c, "-i", "0", "--mkfs", "--osd-uuid", osd_id])
    server.processes["osd"] = _spawn(["ceph-osd", *c, "-f", "-i", "0"], directory / "osd.out")
    _until("the Ceph OSD", lambda: "osd.0 up" in _run(["ceph", *c, "osd", "dump"]))
    server.processes["rgw"] = _spawn(["radosgw", *c, "-f", "-n", "client.rgw"], directory / "rgw.out")
    _until("the RADOS gateway", lambda: _is_listening(http))
    for who in server.identities.values():
        user = ["user", "create", f"--uid={who.name}", f"--display-name={who.name}"]
        keys = [f"--access-key={who.access_key}", f"--secret-key={who.secret_key}"]
        # Everybody may create buckets unless told otherwise.
        limit = [] if who.name == "owner" else ["--max-buckets=-1"]
        _run(["radosgw-admin", *c, "-n", "client.rgw", *user, *keys, *limit])


def _identities(principal: str) -> dict[str, Identity]:
    names = ("owner", "production", "reader")
    return {
        name: Identity(name, f"{name}-access-key", f"{name}-secret-0123456789", principal.format(name))
        for name in names
    }


def _until_serving(server: S3Server) -> S3Server:
    def serves() -> bool:
        try:
            client = server.client()
            if server.bucket not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
                client.create_bucket(Bucket=server.bucket)
            client.put_object(Bucket=server.bucket, Key="ready", Body=b"1")
        except (BotoCoreError, ClientError):
            return False
        return True

    try:
        _until(f"{server.kind} to take a put", serves, server)
    except BaseException:
        server.kill()
        raise
    return server


def _until(what: str, condition: Callable[[], bool], server: S3Server | None = None) -> None:
    # The one place where the tests wait for the real clock: a foreign server starts in its own time.
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not condition():
        dead = [name for name, process in (server.processes if server else {}).items() if process.poll() is not None]
        if dead or time.monotonic() > deadline:
            pytest.fail(f"waited {_START_TIMEOUT_S} s for {what}; dead: {dead or 'none'}", pytrace=False)
        time.sleep(_POLL_S)


def _spawn(argv: list[str], output: Path, extra: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    guard = [shutil.which("setpriv") or "", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    with output.open("wb") as file:
        return subprocess.Popen(
            [*guard, *argv],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(extra or {})},
            start_new_session=True,
        )


def _run(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_START_TIMEOUT_S)
    if done.returncode:
        pytest.fail(f"{argv[0]} ended with {done.returncode}: {done.stderr[-2000:]}", pytrace=False)
    return done.stdout


def _succeeds(argv: list[str]) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, timeout=60).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_ports(count: int) -> list[int]:
    # Below the range that outgoing connections take theirs from.
    chosen: list[int] = []
    while len(chosen) < count:
        port = random.SystemRandom().randrange(12_000, 32_000)
        if port not in chosen and _is_free(port):
            chosen.append(port)
    return chosen


def _free_range(count: int) -> int:
    while True:
        first = random.SystemRandom().randrange(12_000, 32_000 - count)
        if all(_is_free(port) for port in range(first, first + count)):
            return first


_CEPH_CONF = """\
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{mon_v2},v1:127.0.0.1:{mon_v1}]
public_network = 127.0.0.0/8
cluster_network = 127.0.0.0/8
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv4 = true
ms_bind_ipv6 = false
ms_bind_port_min = {osd_first}
ms_bind_port_max = {osd_last}
# No keyrings: only processes of this machine can reach 127.0.0.1.
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
# Without authentication there is no 'secure' mode, and radosgw would look for its monitor for ever.
ms_mon_client_mode = crc
ms_client_mode = crc
ms_service_mode = crc
ms_cluster_mode = crc
log_file = {d}/log/$name.log
log_to_stderr = false
mon_cluster_log_file = {d}/log/cluster.log
admin_socket = {d}/run/$name.asok
pid_file = {d}/run/$name.pid
run_dir = {d}/run
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
osd_crush_chooseleaf_type = 0
mon_max_pg_per_osd = 1000
mon_data_avail_crit = 1
mon_data_avail_warn = 1
# The default second between map proposals makes every pool creation slow.
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
[mon]
mon_data = {d}/mon
mon_initial_members = a
[osd]
osd_data = {d}/osd
osd_objectstore = memstore
memstore_device_bytes = 4294967296
osd_max_object_name_len = 1024
osd_class_load_list = *
osd_class_default_list = *
osd_memory_target = 939524096
osd_op_num_shards = 2
osd_op_num_threads_per_shard = 2
[client.rgw]
rgw_data = {d}/run
# Without tcp_nodelay a small get takes 40 ms.
rgw_frontends = beast endpoint=127.0.0.1:{http} tcp_nodelay=1 ssl_endpoint=127.0.0.1:{https} ssl_certificate={pem}
rgw_thread_pool_size = 64
rgw_enable_usage_log = false
"""
