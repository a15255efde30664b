"""No secret reaches a fact, an excerpt or a stored file, wherever it stands; and ordinary settings survive."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from govsec.assemble.assess import Assessor, run_assessment
from govsec.assemble.assessscope import Request
from govsec.assemble.hosts import Collected
from govsec.assemble.systems import Site
from govsec.clock import SystemClock
from govsec.collect.collect import import_output
from govsec.collect.script import Script, compile_script
from govsec.config import Config
from govsec.redact import CUT, redact, redact_value
from govsec.testing.clock import FakeClock
from tests.collect.probesets import every_probe
from tests.collect.samples import RAW

ROOT = Path(__file__).resolve().parents[2]
#: Where ``@`` is written, the secret stands.
SHAPES = (
    "password: @", "  db_password: '@'", 'api-key: "@"', "password: |\n   @", "userPassword: @", '"pw": "@"',
    "DB_PASS=@", "export MY_TOKEN=@", "AWS_SECRET_ACCESS_KEY=@", "SECRET_KEY_BASE=@", "dbPass=@", "ClientSecret=@",
    "spring.datasource.password = @", 'PASSWORD="@ and more"', "Server=h;Password=@;Encrypt=yes", "wpa psk=@",
    "PrivateKey = @=", "https://h.example/x?access_token=@&a=1", "postgres://u:@@h.example/db".replace(":@@", ":@\x00"),
    "jdbc:mysql://h/d?user=u&password=@", "curl -u admin:@ https://h.example", "curl -s --user=admin:@ https://h.example",
    "mysqldump -u root -p@ gov", "redis-cli -a @ info", "sshpass -p @ ssh h", "docker login -u a -p @ registry",
    "smbclient //h/s -U bob%@", "ldapsearch -x -w @ -b dc=x", "openssl rsa -passin pass:@", "backup --db-password @",
    "CREATE USER 'a'@'%' IDENTIFIED BY '@'".replace("'a'@'%'", "a"), "ALTER ROLE app PASSWORD '@'",
    "SET PASSWORD FOR app = PASSWORD('@')", "user default on >@ ~* +@all".replace("+@all", "+all"),
    'requirepass "@"', "masterauth @", "bindpw @", "rocommunity @", "createUser mon MD5 @ DES @", "login u password @",
    "Authorization: Bearer @", 'proxy_set_header Authorization "Basic @";', "X-Auth-Token: @", "Cookie: session=@; a=b",
    '{"auths": {"r": {"auth": "@"}}}', "<password>@</password>", "token('@')",
    "密码：@", "数据库口令为 @，请勿外传", "密钥=@", "令牌: @",
    "-----BEGIN RSA PRIVATE KEY-----\n@\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\n@\n-----END PGP PRIVATE KEY BLOCK-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----\n@", "root:$6$saltsalt$@@:19000:0".replace("@@", "@"), "{SSHA}@==",
    '{"log-opts": {"splunk-token": "@"}}', 'action(type="ompgsql" pass="@")', 'password("@")', "PGPASSWORD=@ psql",
    "# password: @", "$apr1$salt$@",
)  # fmt: skip
#: Secrets that tell themselves what they are; whole.
KNOWN = (
    "AKIAIOSFODNN7EXAMPLE", "LTAI5tQwErTyUiOpAsDfGhJk", "AKIDz8krbsJ5yKBZQpn74WFkmLPx3",
    "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789", "glpat-abcdefghijklmnopqrst", "xoxb-123456789012-abcdefghij",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "grub.pbkdf2.sha512.10000.0123456789ABCDEF.FEDCBA9876543210", "md5" + "0f" * 16, "*" + "94BDCEBE19" * 4,
    "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" * 1, "$y$j9T$abcdefghijkl$mnopqrstuvwx",
)  # fmt: skip
ORDINARY = (
    "return 301 https://$host$request_uri;", "password requisite pam_pwquality.so minlen=8 retry=3", "PASS_MAX_DAYS 90",
    "password\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt", "password_encryption = scram-sha-256",
    "passwd:         files systemd", 'proxy_pass "http://app:8080"', "-a always,exit -F arch=b64 -S chmod -F key=perm",
    "-w /etc/passwd -p wa -k identity", "PasswordAuthentication no", "user www-data;", "token_ttl=3600", "bypass=1",
    "auth_basic_user_file /etc/nginx/htpasswd;", "ssl_certificate_key /etc/ssl/private/x.key;", "key: value",
    "AuthorizedKeysFile .ssh/authorized_keys", "listen 443 ssl http2;", "PermitEmptyPasswords no", "max_tokens: 30",
    "default_password_lifetime = 0", "validate_password.length\t8", "http://mirror.example:8080/debian", "password=yes",
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ root@h", "root:x:0:0:root:/root:/bin/bash", "password: no",
    "OPS ALL=(root) NOPASSWD: SERVICES, PASSWD: /usr/bin/dnf update", "kernel.kptr_restrict=1", "口令长度至少 8 位",
    "口令：90 天更换", "sha256 = " + "ab" * 32, "user root on tty1", 'rename-command CONFIG ""', "grub_password=1",
    "auth required pam_faillock.so preauth deny=5 unlock_time=600",
    "hostkeyalgorithms sk-ssh-ed25519-cert-v01@openssh.com",
    "ExecStart=/usr/bin/app --password-file=/run/secrets/x", "SHA256:2dK8m1cP0X3nqYl7", "secret_file: /run/x",
)  # fmt: skip

LETTERS = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
secrets_drawn = st.text(alphabet=LETTERS, min_size=12, max_size=24).map(lambda text: f"Zq7{text}")


def _planted(shape: str, secret: str) -> str:
    return shape.replace("\x00", "@").replace("@", secret, 1) if "\x00" in shape else shape.replace("@", secret)


@settings(max_examples=30, deadline=None)
@given(secret=secrets_drawn, before=st.sampled_from(["", "  ", "# ", "2026-11-22 app[1]: ", "数据库", "x;"]))
def test_a_secret_is_cut_in_every_shape(secret: str, before: str) -> None:
    for shape in SHAPES:
        text = _planted(shape, secret)
        for written in (text, before + text if "\n" not in text else text, f"a\n{text}\nb = c"):
            assert secret not in redact(written), written
            assert CUT in redact(written), written


@pytest.mark.parametrize("secret", KNOWN)
def test_a_token_that_tells_itself_is_cut_wherever_it_stands(secret: str) -> None:
    for text in (secret, f"x {secret} y", f'"{secret}",', f"a={secret}", f"看{secret}。"):
        assert secret not in redact(text), text


@pytest.mark.parametrize("text", ORDINARY)
def test_an_ordinary_setting_survives(text: str) -> None:
    assert redact(text) == text


def test_facts_of_every_fixture_survive() -> None:
    files = sorted((ROOT / "policies").glob("*/fixtures/*/*.json"))
    assert len(files) > 500
    for path in files[::5]:
        facts = json.loads(path.read_text(encoding="utf-8"))
        assert redact_value(facts) == facts, path


def test_what_hosts_really_answer_survives_but_for_addresses_with_passwords() -> None:
    changed = [
        line
        for path in sorted(RAW.glob("*.txt"))
        for line, clean in zip(*(text.splitlines() for text in _both(path)), strict=True)
        if line != clean
    ]

    assert 0 < len(changed) < 5
    assert all(re.search(r"://[^/ ]+:[^/ ]+@", line) for line in changed), changed


def _both(path: Path) -> tuple[str, str]:
    text = path.read_text(encoding="utf-8")
    return text, redact(text)


@given(text=st.text(alphabet="pasword:=\"'\n |>-{}$@/<>tokenkey密码：[]\\", max_size=300))
@settings(max_examples=200, deadline=None)
def test_cutting_ends_and_twice_is_no_more_than_once(text: str) -> None:
    once = redact(text)

    assert redact(once).count(CUT) >= once.count(CUT) - 1
    assert len(once) <= len(text) + 6 * (text.count("\n") + text.count("=") + text.count(":") + text.count("$") + 5)


@pytest.mark.parametrize(
    "text", ["password=" * 20_000, "a:" * 50_000, "$6$" * 30_000, "x?" + "token=" * 20_000, "curl " * 20_000]
)
def test_a_hostile_line_takes_no_longer_than_it_is_long(text: str) -> None:
    begun = SystemClock().monotonic()
    redact(text)

    assert SystemClock().monotonic() - begun < 60


def _output(script: Script, lines: list[str]) -> bytes:
    """What a host would send that has these lines in every answer."""
    frames = []
    for number, source in enumerate(script.sources):
        body = [f"@{script.token} /etc/app.conf", *(f" {line}" for line in lines), *lines]
        content = "\n".join(body).encode()[: source.size_max // 2]
        if number == 0:
            content = b"os_id=debian\ntime=1795320000\nuid=0\n" + content
        tail = f"\n{script.token} 0".encode()
        head = f"@{script.token} {number} 1.00 1.01 {len(content + tail)}\n".encode()
        frames.append(head + content + tail + b"\n")
    return b"".join(frames) + f"@{script.token} end all\n".encode()


SECRET = "Zq7hGt3Rk9WmPxLd"


def test_nothing_that_is_stored_of_a_run_holds_a_secret_of_its_hosts(tmp_path: Path) -> None:
    """Secrets of every shape in every answer of every probe; then all files of the run are searched."""
    lines = [line for shape in SHAPES for line in _planted(shape, SECRET).split("\n")]
    site = Site(Config.model_validate({"state_dir": str(tmp_path)}), FakeClock(datetime(2026, 11, 22, tzinfo=UTC)))

    def collected(assessor: Assessor) -> list[Collected]:
        target = assessor.scope.targets[0]
        probes = {probe.identity: probe for probe in (*every_probe(), *assessor.probes)}
        script = compile_script(list(probes.values()), host=target.name, token="ab" * 16)
        facts = import_output(script, _output(script, lines), site.clock)
        # A line per source, so that a parser that refuses one gets others.
        assert SECRET not in facts.dump().decode()
        return [Collected(target, site.clock.now(), facts, data=facts.dump())]

    run = run_assessment(site, Request(is_recorded=False, compare=""), collected=collected)

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 3
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert CUT.encode() in b"".join(path.read_bytes() for path in files)
    assert run.assessment.results


@pytest.fixture(scope="module", params=["mawk", "gawk", "busybox"])
def host_cut(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str]], str]:
    """What the host's own awk sends of a file with these lines."""
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"{request.param} is not installed")
    prelude = (ROOT / "govsec" / "collect" / "prelude.sh").read_text(encoding="utf-8")
    shown = re.search(r"CUT='(.*?)'\nSHOW=\$CUT'(.*?)'\n", prelude, re.DOTALL)
    assert shown is not None
    argv = [program, *(["awk"] if request.param == "busybox" else []), "-v", "T=x", shown[1] + shown[2]]
    file = tmp_path_factory.mktemp("host") / "app.conf"

    def cut(lines: list[str]) -> str:
        file.write_text("\n".join([*lines, ""]), encoding="utf-8", errors="surrogateescape")
        done = subprocess.run([*argv, str(file)], capture_output=True, env={"LC_ALL": "C"}, timeout=120, check=True)
        return done.stdout.decode("utf-8", "surrogateescape")

    return cut


def test_the_host_cuts_every_shape_before_it_sends_it_and_leaves_what_is_ordinary(
    host_cut: Callable[[list[str]], str],
) -> None:
    shapes = [_planted(shape, SECRET) for shape in SHAPES]
    # A key without an end takes the rest of its file with it.
    keys = [shape for shape in shapes if "BEGIN" in shape]
    rest = [*(shape for shape in shapes if shape not in keys), *KNOWN, *(f"x={known} y" for known in KNOWN)]

    sent = "".join([*(host_cut([key]) for key in keys), host_cut(rest)])

    assert len(keys) == 3
    assert [line for line in sent.splitlines() if SECRET in line or any(known in line for known in KNOWN)] == []
    unchanged = host_cut(list(ORDINARY))
    assert [text for text in ORDINARY if f" {text}\n" not in unchanged] == []


_PIECES = (
    "password", "Password", "PASSWORD", "db_pass", "dbPass", "pw", "token", "api-key", "SECRET_KEY", "secret", "auth",
    "Authorization", "Bearer ", "basic ", "--", "-p", "-u ", "curl ", "mysql ", "redis-cli ", "user ", "https://", "u:",
    ":", ": ", "=", " = ", '"', "'", "(", ")", "<", ">", "{", "}", "@", "&", "?", ";", "|", " ", "\t", "yes", "no",
    "$6$", "{SSHA}", "密码", "口令", "：", "为", "IDENTIFIED BY ", "requirepass ", "Cookie: ", "md5", "on ",
)  # fmt: skip
lines_drawn = st.lists(st.sampled_from((*_PIECES, SECRET, SECRET)), min_size=2, max_size=10).map("".join)


@given(lines=st.lists(lines_drawn, min_size=20, max_size=60))
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_what_is_cut_here_the_host_had_cut_already(host_cut: Callable[[list[str]], str], lines: list[str]) -> None:
    """Both against each other, on lines made of what the forms consist of."""
    apart = [piece for line in lines for piece in (line, "")]
    sent = host_cut(apart).splitlines()[1:]

    for line in sent:
        assert SECRET not in line or SECRET in redact(line[1:]), line


@pytest.mark.parametrize(
    "text", ["password=" * 400, "a:" * 2000, "$6$" * 1300, "x?" + "token=" * 600, "curl -u" * 500, "Pass" * 1000]
)
def test_a_hostile_line_holds_no_host_up(host_cut: Callable[[list[str]], str], text: str) -> None:
    begun = SystemClock().monotonic()
    host_cut([text] * 3)

    assert SystemClock().monotonic() - begun < 60
