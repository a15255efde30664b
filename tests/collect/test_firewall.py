"""Whether a host's packet filter protects the host: Docker's rules do not, and IPv4's rules say nothing of IPv6."""

from __future__ import annotations

import json
from typing import Any

import pytest

from govsec.collect.kinds import parse
from govsec.collect.probes_host import FirewallProbe
from govsec.collect.sources import Answer, NoFactError
from tests.collect.samples import reading

#: What Docker 24 adds to an empty filter table.
DOCKER = """-P INPUT ACCEPT
-P FORWARD DROP
-P OUTPUT ACCEPT
-N DOCKER
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -j DOCKER
-A DOCKER-USER -j RETURN
rc=0
"""


def fact(text: str) -> Any:
    return parse(FirewallProbe(), reading(FirewallProbe(), {"firewall": Answer(text.encode(), 0)}))


def chain(family: str, policy: str = "accept", name: str = "INPUT") -> dict[str, Any]:
    return {"chain": {"family": family, "table": "filter", "name": name, "type": "filter", "hook": "input",
                      "policy": policy}}  # fmt: skip


def rule(family: str, *words: dict[str, Any], name: str = "INPUT") -> dict[str, Any]:
    return {"rule": {"family": family, "table": "filter", "chain": name, "expr": list(words)}}


def nft(*items: dict[str, Any], ipv6: str = "known\nfe80 02 40 20 80 eth0\n") -> str:
    return f"@T nft\n{json.dumps({'nftables': list(items)})}\nrc=0\n@T ipv6\n{ipv6}"


JUMP = {"jump": {"target": "DOCKER-ISOLATION-STAGE-1"}}
ALLOW = {"match": {}}, {"accept": None}


def test_rules_that_docker_made_are_no_firewall() -> None:
    found = fact(f"@T iptables\n{DOCKER}")

    assert found["rules_count"] == 3 and found["iptables"]["forward_policy"] == "drop"
    assert (found["active"], found["default_deny_input"]) == (False, False)


@pytest.mark.parametrize("target", ["DOCKER-INPUT", "KUBE-FIREWALL", "LIBVIRT_INP", "f2b-sshd", "cali-INPUT"])
def test_a_jump_to_another_programs_chain_is_no_rule_of_the_host(target: str) -> None:
    assert not fact(f"@T iptables\n{DOCKER}-A INPUT -p tcp -j {target}\n")["active"]
    assert not fact(nft(chain("ip"), rule("ip", {"jump": {"target": target}})))["active"]


@pytest.mark.parametrize(
    "line", ["-A INPUT -p tcp --dport 23 -j DROP", "-A INPUT -j ufw-before-input", "-P INPUT DROP"]
)
def test_a_rule_or_policy_of_the_host_beside_dockers_is_one(line: str) -> None:
    text = DOCKER.replace("-P INPUT ACCEPT\n", "") if line.startswith("-P") else DOCKER

    assert fact(f"@T iptables\n{line}\n{text}")["active"]


def test_a_filter_for_ipv4_leaves_ipv6_open() -> None:
    found = fact(nft(chain("ip", "drop"), rule("ip", *ALLOW), chain("ip6"), rule("ip6", JUMP)))

    assert found["active"] and found["default_deny_input"]
    assert found["ipv6"] == {"enabled": True, "active": False, "default_deny_input": False}


def test_a_filter_for_both_counts_for_both() -> None:
    found = fact(nft(chain("inet"), rule("inet", *ALLOW), rule("inet", {"counter": {}}, {"reject": {}})))

    assert found["active"] and found["default_deny_input"]
    assert found["ipv6"] == {"enabled": True, "active": True, "default_deny_input": True}


@pytest.mark.parametrize(
    ("text", "enabled"), [("known\n", False), ("known\nfe80 02 40 20 80 eth0\n", True), ("", None)]
)
def test_ipv6_is_in_use_where_an_interface_has_an_address(text: str, enabled: bool | None) -> None:
    assert fact(nft(chain("ip", "drop"), ipv6=text))["ipv6"]["enabled"] is enabled


NO_NFT = "nft config=# CONFIG_NF_TABLES is not set modules= builtin="
NOT_LOADED = "nft config=CONFIG_NF_TABLES=m modules=none builtin="


@pytest.mark.parametrize("nft_line", [NO_NFT, NOT_LOADED, "nft config= modules=none builtin=none"])
@pytest.mark.parametrize("tables", ["ip none\nip6 none\n", "ip \nip6 none\n"])
def test_no_tool_and_a_kernel_without_rules_is_no_firewall(nft_line: str, tables: str) -> None:
    found = fact(f"@T kernel\n{tables}{nft_line}\n@T ipv6\nknown\n")

    assert (found["active"], found["rules_count"], found["kernel"]) == (False, 0, "none")


@pytest.mark.parametrize(
    "text",
    [
        f"@T kernel\nip rules\nip6 none\n{NO_NFT}\n",
        "@T kernel\nip none\nip6 none\nnft config=CONFIG_NF_TABLES=y modules= builtin=\n",
        "@T kernel\nip none\nip6 none\nnft config=CONFIG_NF_TABLES=m modules=rules builtin=\n",
        "@T kernel\nip none\nip6 none\nnft config= modules=none builtin=rules\n",
        "@T kernel\nip none\nip6 none\nnft config= modules= builtin=\n",
        f"@T kernel\n{NO_NFT}\n",
        f"@T kernel\nip none\n{NO_NFT}\n",
        "",
        f"@T nft\n\nrc=1\n@T kernel\nip none\nip6 none\n{NO_NFT}\n",
        f"@T iptables\n@T kernel\nip none\nip6 none\n{NO_NFT}\n",
    ],
)
def test_where_nobody_can_say_it_is_an_error(text: str) -> None:
    with pytest.raises(NoFactError) as caught:
        fact(text)

    assert caught.value.status == "error"
