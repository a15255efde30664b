"""What an expression reads is held against the facts' shapes: fields that nobody has, loops in an order of chance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from govsec.clock import SystemClock
from govsec.collect.shapes import LEAF, Shape, fact_shapes
from govsec.errors import ConfigurationError
from govsec.policy.expressions import Expressions
from govsec.policy.fields import flaws
from govsec.policy.packfiles import read_folder
from govsec.policy.packload import DRAFT, Known, read_pack
from tests.policy.pack_samples import CHECK, KNOWN, write_pack

SHAPES = {**fact_shapes(), "params": Shape({"few": LEAF, "names": Shape(items=LEAF)})}
GONE = "which the fact of this probe never has"


@pytest.fixture(scope="module")
def child() -> Iterator[Expressions]:
    with Expressions(SystemClock()) as expressions:
        yield expressions


@pytest.mark.parametrize(
    "text",
    [
        'sshd.all.size() > 0 && sshd.all.all(s, s.permitrootlogin == "no" && s.ciphers.all(c, c in params.names))',
        "users.users.filter(u, u.login && !u.locked).all(u, u.password_age_days <= params.few)",
        'modules.modules["usb_storage"].disabled && keys(modules.modules).all(m, modules.modules[m].disabled)',
        '!("hosts" in docker.daemon) || docker.daemon.hosts.all(h, !h.startsWith("tcp://"))',
        'docker.containers.all(c, c.mounts.all(m, m.source != "/"))',
        "logging.rsyslog.remote.exists(r, r.tls == true) ? logging.remote : logging.syslog_ng.active",
        "users.users.map(u, u.name).all(n, n != 'a.b.c')",
        '[1, 2].all(x, x > 0) && {"a": 1}.size() == 1 && has(sysctl.values) && int("1") == 1',
        "updates.security_names[0] == 'x' && now > timestamp('2026-01-01T00:00:00Z')",
    ],
)
def test_what_is_there_may_be_read(text: str) -> None:
    assert list(flaws(text, SHAPES)) == []


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("sshd.setings.permitrootlogin == 'no'", f"reads sshd.setings, {GONE}"),
        ("users.users.all(u, u.passwd_age < 90)", f"reads u.passwd_age, {GONE}"),
        ("users.users.filter(u, u.logins).size() == 0", f"reads u.logins, {GONE}"),
        ("has(time.offset) && time.offset_s < 1.0", f"reads time.offset, {GONE}"),
        ("firewall.nft['rules'] > 0", f"reads firewall.nft['rules'], {GONE}"),
        ("redis.instances[0].pasword_set", f"reads redis.instances[0].pasword_set, {GONE}"),
        ("(users.truncated || groups.broken)", f"reads groups.broken, {GONE}"),
        ("time.services.size > 0", f"reads time.services.size, {GONE}"),
        ("time.stratum.all(x, x > 0)", "loops over time.stratum, which is no list"),
        ("keys(time.services).all(x, x != '')", "keys() of what is no mapping"),
    ],
)
def test_a_field_that_no_fact_has_is_told(text: str, flaw: str) -> None:
    assert flaw in list(flaws(text, SHAPES))


@pytest.mark.parametrize(
    "text",
    [
        "modules.modules.all(m, modules.modules[m].disabled)",
        "sysctl.values.exists(k, sysctl.values[k] == 1)",
        "mounts.mounts.filter(m, mounts.mounts[m].type == 'nfs').size() == 0",
        "users.users.all(u, modules.modules.exists_one(m, m == u.name))",
        "docker.daemon.icc.map(x, x).size() == 0",  # nobody says what it is
        "(true ? mounts.mounts : mounts.fstab).all(m, m != '')",
        "modules.all(m, m != '')",
    ],
)
def test_a_loop_over_a_mapping_is_told(text: str) -> None:
    assert any("in an order of chance" in flaw for flaw in flaws(text, SHAPES))


@pytest.mark.parametrize(
    "text", ["", "(((", "a.", "a.all(", "a.all(x", "a[", "keys(", ")", "..", "a.all(x,)", '"', "[,]"]
)
def test_half_an_expression_is_read_to_its_end(text: str) -> None:
    assert isinstance(list(flaws(text, SHAPES)), list)
    assert isinstance(list(flaws("(" * 5000 + text, SHAPES)), list)


@pytest.mark.parametrize(
    ("claim", "flaw"),
    [
        ("lock.effective.denny <= params.tries_max", f"expression reads lock.effective.denny, {GONE}"),
        ("lock.file.all(k, k.size() <= params.tries_max)", "expression loops over lock.file, whose names"),
    ],
)
def test_a_pack_with_such_an_expression_is_refused_with_file_and_line(
    tmp_path: Path, child: Expressions, claim: str, flaw: str
) -> None:
    check = CHECK.replace("lock.root", "lock.active").replace("!lock.truncated", "lock.active")
    check = check.replace("cel: lock.deny <= params.tries_max,", f'cel: "{claim}",').replace("lock.deny", "lock.active")
    place = write_pack(tmp_path, check=check)

    with pytest.raises(ConfigurationError) as caught:
        read_pack(read_folder(place), DRAFT, Known(KNOWN.keys, KNOWN.cases), child)

    assert flaw in str(caught.value)
    assert "checks/lock.yaml:17: small-lock: " in str(caught.value)


ORDER = """
import json, sys
from govsec.clock import SystemClock
from govsec.policy.expressions import Expressions, Group, Job
facts = {"m": {"good": {"x": 1}, "odd": {}, "bad": {"x": 0}, **{f"n{i}": {"x": 1} for i in range(20)}}}
texts = ["keys(f.m).all(k, f.m[k].x == 1)", "keys(f.m).exists(k, f.m[k].x == 0)", "keys(f.m).map(k, k)[0] == 'bad'",
         "keys(f.m).exists(k, f.m[k].x == 7)", "keys(f) == ['m']", "keys(f.m.good.x).size() == 0"]
with Expressions(SystemClock()) as expressions:
    expressions.load(texts)
    group = Group({"f": json.dumps(facts)}, [Job([number], frozenset({"f"})) for number in range(len(texts))])
    print(json.dumps(expressions.evaluate([group], "2026-01-01T00:00:00Z")))
"""


def test_names_of_a_mapping_come_in_one_order_whatever_the_seeds() -> None:
    """The evaluator draws a new seed in every process, and Python takes one from its environment."""
    found = set()
    for seed in ("0", "1", "4242", "random"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", ORDER], capture_output=True, check=True, env=environment)
        found.add(done.stdout)

    (answers,) = found
    *decided, missing, one, wrong = [answer for (answer,) in json.loads(answers)]
    assert decided == [False, True, True] and one is True  # "bad" comes before "odd", which has no such field
    assert missing == "there is no 'x'" and "keys() is of a mapping" in wrong
