"""Server software asked for real: PostgreSQL and MariaDB over their sockets, nginx over TLS, sshd with Match blocks."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from govsec.clock import SystemClock
from govsec.collect.collect import collect, import_output
from govsec.collect.probes import AnyProbe, MysqlProbe, PostgresqlProbe, SshdProbe, TlsProbe
from govsec.collect.probes_services import SshdContext, TlsEndpoint
from govsec.collect.script import compile_script
from govsec.collect.transport import LocalTransport
from tests.support.require import require, require_root

CLOCK = SystemClock()
_STARTED_WITHIN_S = 60.0


def ask(probe: AnyProbe) -> Any:
    outcome = collect("here", [probe], LocalTransport(CLOCK), CLOCK).outcomes[probe.identity]
    assert outcome.status == "ok", outcome.reason
    return outcome.value


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path that servers under other users may enter: sockets lie in it."""
    require_root()
    with tempfile.TemporaryDirectory(prefix="gs-", ignore_cleanup_errors=True) as path:
        Path(path).chmod(0o755)
        yield Path(path)


def _wait(command: list[str], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _STARTED_WITHIN_S
    while subprocess.run(command, capture_output=True, check=False).returncode != 0:
        assert process.poll() is None and time.monotonic() < deadline, f"{command[0]}: the server did not start"
        time.sleep(0.1)


def test_postgresql_answers_over_its_socket_and_keeps_its_hashes(folder: Path) -> None:
    program = require("postgresql")
    data = folder / "data"
    data.mkdir()
    shutil.chown(folder, "postgres")
    shutil.chown(data, "postgres")
    as_postgres = ["runuser", "-u", "postgres", "--"]
    subprocess.run(
        [*as_postgres, str(program.parent / "initdb"), "-D", str(data), "-A", "trust", "--no-sync"],
        check=True,
        capture_output=True,
    )
    server = subprocess.Popen(
        [*as_postgres, str(program), "-D", str(data), "-k", str(folder), "-p", "5499", "-c", "listen_addresses=",
         "-c", "fsync=off"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        psql = ["psql", "-X", "-q", "-h", str(folder), "-p", "5499", "-U", "postgres", "-d", "postgres", "-c"]
        _wait([*psql, "SELECT 1"], server)
        subprocess.run(
            [*psql, "CREATE ROLE app LOGIN PASSWORD 'PLANTED-pg' CONNECTION LIMIT 5"], check=True, capture_output=True
        )

        value = ask(PostgresqlProbe(port=5499, socket_directory=str(folder)))
    finally:
        subprocess.run(
            [*as_postgres, str(program.parent / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop"],
            capture_output=True,
            check=False,
        )
        server.wait(120)

    assert value["running"] and int(value["live"]["version"].split(".")[0]) >= 12
    assert (
        value["live"]["settings"]["listen_addresses"] == ""
        and value["live"]["settings"]["password_encryption"] == "scram-sha-256"
    )
    roles = {role["name"]: role for role in value["live"]["roles"]}
    assert (
        roles["app"]["password"] == "scram" and roles["app"]["connection_limit"] == 5 and roles["postgres"]["superuser"]
    )
    assert (
        "SCRAM-SHA-256$" not in str(value) and "PLANTED" not in str(value) and "plpgsql" in value["live"]["extensions"]
    )


def test_mariadb_answers_over_its_socket_and_keeps_its_hashes(folder: Path) -> None:
    program = require("mariadb")
    data, socket = folder / "data", folder / "s"
    shutil.chown(folder, "mysql")
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=mysql", "--skip-test-db"],
        check=True,
        capture_output=True,
    )
    server = subprocess.Popen(
        [str(program), "--no-defaults", f"--datadir={data}", f"--socket={socket}", "--user=mysql", "--skip-networking",
         f"--pid-file={folder}/pid", "--innodb-flush-log-at-trx-commit=0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        client = ["mariadb", "--no-defaults", f"--socket={socket}", "-u", "root", "-e"]
        _wait([*client, "SELECT 1"], server)
        subprocess.run(
            [*client, "CREATE USER app@'%' IDENTIFIED BY 'PLANTED-my' REQUIRE SSL; CREATE USER nopass@localhost; "
             "GRANT ALL ON *.* TO app@'%'"],
            check=True, capture_output=True,
        )  # fmt: skip

        value = ask(MysqlProbe(socket=str(socket)))
    finally:
        server.terminate()
        server.wait(60)

    assert "MariaDB" in value["live"]["version"] and value["running"]
    accounts = {(one["user"], one["host"]): one for one in value["live"]["accounts"]}
    app = accounts["app", "%"]
    assert (app["empty"], app["any_host"], app["superuser"], app["tls"]) == (False, True, True, True)
    assert accounts["nopass", "localhost"]["empty"] and not accounts["nopass", "localhost"]["superuser"]
    assert not accounts["root", "localhost"]["empty"]
    assert value["live"]["variables"]["skip_networking"] == "ON" and value["live"]["variables"]["version"]
    assert "PLANTED" not in str(value)


def test_tls_of_a_real_nginx_is_tried_version_by_version(folder: Path) -> None:
    program = require("nginx")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=site.gov.cn",
         "-addext", "subjectAltName=DNS:site.gov.cn", "-keyout", str(folder / "key"), "-out", str(folder / "cert")],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;\n"
        f"fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
        f"server {{ listen 127.0.0.1:8943 ssl; ssl_certificate {folder}/cert; ssl_certificate_key {folder}/key;\n"
        "ssl_protocols TLSv1.2; ssl_ciphers ECDHE-RSA-AES256-GCM-SHA384; return 204; } }\n",
        encoding="ascii",
    )
    server = subprocess.Popen(
        [str(program), "-c", str(folder / "nginx.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(["sh", "-c", "openssl s_client -connect 127.0.0.1:8943 </dev/null"], server)
        value = ask(TlsProbe(endpoints=(TlsEndpoint(port=8943, server_name="site.gov.cn"), TlsEndpoint(port=1))))
    finally:
        server.terminate()
        server.wait(120)

    here, nobody = value["endpoints"]
    assert here["reachable"] and here["protocols"]["TLSv1.2"] is True and here["protocols"]["TLSv1.3"] is False
    assert here["ciphers"] == {"TLSv1.2": "ECDHE-RSA-AES256-GCM-SHA384"} and here["weak_accepted"] is not True
    assert here["certificate"]["subject"] == "CN=site.gov.cn" and here["certificate"]["key_bits"] == 2048
    assert here["certificate"]["days_left"] in (29, 30) and here["certificate"]["names"] == ["site.gov.cn"]
    assert not nobody["reachable"] and set(nobody["protocols"].values()) == {None}


def test_match_blocks_of_a_real_sshd_are_asked_one_by_one(folder: Path) -> None:
    require("sshd")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host")],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    (folder / "sshd_config").write_text(
        f"HostKey {folder}/host\nPermitRootLogin no\nPasswordAuthentication no\nCiphers aes256-ctr\n"
        "Match User backup,other\n  PermitRootLogin yes\n"
        "Match Address 10.0.0.0/8 Group daemon\n  PasswordAuthentication yes\n"
        "Match User !x,*\n  X11Forwarding yes\nMatch LocalPort 2200\n  PermitTunnel yes\n"
        "Match Group no-such-group\n  X11Forwarding yes\n",
        encoding="ascii",
    )
    probe = SshdProbe(contexts=(SshdContext(user="root", address="192.0.2.1"),))
    script = compile_script([probe], host="h")
    # The same script, pointed at another configuration than the machine's own.
    text = script.text.replace("d=/etc/ssh", f"d={folder}").replace(
        "lim sshd -T", f"lim sshd -f {folder}/sshd_config -T"
    )
    # As on a host that runs one: what does not run is not judged, and none has to be started to be asked.
    text = text.replace("if have ps &&", "echo root sshd; if have ps &&")
    done = subprocess.run(["sh", "-s"], input=text.encode(), capture_output=True, check=True)
    outcome = import_output(script, done.stdout, CLOCK).outcomes[probe.identity]
    assert outcome.status == "ok", outcome.reason
    value: Any = outcome.value

    assert value["settings"]["permitrootlogin"] == "no" and value["settings"]["ciphers"] == ["aes256-ctr"]
    contexts = value["contexts"]
    assert contexts["user=root,host=localhost,addr=192.0.2.1"]["permitrootlogin"] == "no"
    assert contexts["user=backup,host=localhost,addr=127.0.0.1"]["permitrootlogin"] == "yes"
    assert contexts["user=daemon,host=localhost,addr=10.0.0.0"]["passwordauthentication"] == "yes"
    assert contexts["user=root,host=localhost,addr=127.0.0.1,lport=2200"]["permittunnel"] == "yes"
    assert value["unresolved"] == 2 and len(value["match_lines"]) == 5
    assert len(value["all"]) == 1 + len(contexts)
