"""A bare root of busybox with a secret in every file that a probe reads answers, and keeps them."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from govsec.clock import SystemClock
from govsec.collect.collect import collect, import_output
from govsec.collect.facts import load_facts
from govsec.collect.probes import (
    FileProbe,
)
from govsec.collect.script import compile_script
from govsec.collect.transport import LocalTransport
from govsec.testing.clock import FakeClock
from tests.collect.probesets import quick_probes
from tests.support.require import require, require_root

CLOCK = SystemClock()

SECRETS = {
    "etc/shadow": "root:$6$saltysalt$PLANTEDhash0123456789abcdefghij:20000:0:90:7:::\n",
    "etc/redis/redis.conf": "requirepass PLANTEDredis\nmasterauth PLANTEDmaster\n"
    "user app on >PLANTEDacl ~* +@all\nport 6379\n",
    "etc/nginx/nginx.conf": "http {\n set $key \"PLANTEDset\";\n server {\n listen 80;\n auth_basic x;\n"
    " proxy_set_header Authorization \"Basic PLANTEDbasic\";\n if ($arg_t = \"PLANTEDif\") { return 403; }\n"
    " location / { proxy_pass http://u:PLANTEDurl@10.0.0.1; }\n }\n}\n",
    "etc/nginx/.htpasswd": "admin:$apr1$salt$PLANTEDapr1\n",
    "etc/nginx/conf.d/key.conf": "-----BEGIN PRIVATE KEY-----\nPLANTEDprivatekey\n-----END PRIVATE KEY-----\n",
    "etc/ssl/certs/site.crt": "-----BEGIN RSA PRIVATE KEY-----\nPLANTEDcertkey\n-----END RSA PRIVATE KEY-----\n",
    "etc/my.cnf": "[client]\npassword=PLANTEDclient\n[mysqld]\nport=3306\nmaster_password = PLANTEDmysqld\n",
    "etc/cron.d/dump": "0 1 * * * root mysqldump -u root -pPLANTEDcron gov | gzip\n"
    "5 5 * * * root PGPASSWORD=PLANTEDpg psql\n",
    "etc/sudoers": "app ALL=(root) NOPASSWD: /usr/bin/tool --password PLANTEDsudo\n",
    "etc/pam.d/sshd": "auth required pam_mysql.so user=vsftpd passwd=PLANTEDpam db=x\n",
    "etc/docker/daemon.json": '{"registry-mirrors": ["https://u:PLANTEDdocker@m"], "hosts": [], '
    '"log-opts": {"splunk-token": "PLANTEDsplunk"}}',
    "etc/profile": "export DB_PASSWORD=PLANTEDprofile\numask 027\n",
    "etc/rsyslog.conf": "*.* @@log.example.cn\n$x password=\"PLANTEDrsyslog\"\n"
    'action(type="ompgsql" pass="PLANTEDompgsql" server="db")\n',
    "etc/postgresql/14/main/pg_hba.conf": "host all all 0.0.0.0/0 ldap ldapbindpasswd=PLANTEDldap\n",
    "etc/postgresql/14/main/postgresql.conf": "primary_conninfo = 'password=PLANTEDconninfo'\nssl = on\n",
    "etc/login.defs": "PASS_MAX_DAYS 90\n",
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nlegacy:$1$abc$PLANTEDpasswd:1000:1000::/home/l:/bin/sh\n",
    "etc/group": "root:$1$abc$PLANTEDgroup:0:\n",
    "etc/os-release": 'ID=busybox\nVERSION_ID="1"\n',
}  # fmt: skip


@pytest.fixture(scope="module")
def bare_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root directory with nothing but a static busybox, and a secret in every file that a probe reads."""
    require_root()
    root = tmp_path_factory.mktemp("bare")
    for folder in ("bin", "proc", "dev"):
        (root / folder).mkdir()
    shutil.copy(require("busybox"), root / "bin" / "busybox")
    subprocess.run([root / "bin" / "busybox", "--install", "-s", str(root / "bin")], check=True, capture_output=True)
    for applet in (root / "bin").iterdir():
        if applet.is_symlink():
            applet.unlink()
            applet.symlink_to("busybox")
    os.mknod(root / "dev" / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    for place, text in SECRETS.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text, encoding="utf-8")
    yield root


def test_a_bare_busybox_answers_and_keeps_its_secrets(bare_root: Path) -> None:
    probes = [
        *quick_probes(),
        FileProbe(path="/etc/nginx/conf.d/key.conf", fields={"line": "(.*)"}),
        FileProbe(path="/etc/my.cnf", fields={"password": "^password=(.*)$"}),
    ]
    clock = FakeClock()
    transport = LocalTransport(CLOCK, interpreter=("chroot", str(bare_root), "/bin/sh"))
    script = compile_script(probes, host="bare")
    raw = transport.run(script)
    stored = collect("bare", probes, transport, clock).dump() + import_output(script, raw, clock).dump()

    planted = sorted(set(re.findall(r"PLANTED[a-z0-9]+", stored.decode())))
    # A field that a pack declares is a declared field: this file is not on the list of secret paths.
    assert planted == ["PLANTEDclient"]
    facts = load_facts(collect("bare", quick_probes(), transport, clock).dump())
    assert "PLANTED" not in facts.dump().decode()
    # Not even what crosses the wire, or lies in an exported file, holds them.
    assert set(re.findall(rb"PLANTED[a-z0-9]+", raw)) <= {b"PLANTEDclient"}
    by_kind = {outcome.kind: outcome for outcome in facts.outcomes.values()}
    assert by_kind["users"].status == "ok" and by_kind["redis"].status == "ok" and by_kind["nginx"].status == "ok"
    told: Any = by_kind["redis"].value
    assert told["instances"][0]["password_set"] is True and told["instances"][0]["acl_users_count"] == 1
    assert by_kind["sshd"].status == "absent" and by_kind["login_defs"].status == "ok"
    assert facts.platform.os_id == "busybox"
