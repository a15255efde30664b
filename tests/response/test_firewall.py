"""The helper's firewall verbs on real packets: two network namespaces, a cable, and a kernel that keeps the time."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from govsec.errors import RefusedError
from govsec.response.helper.firewall import Block
from tests.response.far import People, ask, helper_running, make_order, wait_for, write_settings
from tests.support.namespaces import Namespace, cable
from tests.support.require import require

HERE, THERE = "192.0.2.1", "192.0.2.2"
MANAGER = "198.51.100.9"
#: Long enough for a machine that stands still, and nothing waits for its end.
LONG_S = 3600


@pytest.fixture
def ends() -> Iterator[tuple[Namespace, Namespace]]:
    require("nft")
    with cable() as (here, there):
        for end, address in ((here, HERE), (there, THERE)):
            end.ip("address", "add", f"{address}/24", "dev", end.interface)
            end.ip("link", "set", "lo", "up")
        there.ip("address", "add", f"{MANAGER}/24", "dev", there.interface)
        here.ip("address", "add", "198.51.100.1/24", "dev", here.interface)
        yield here, there


@contextlib.contextmanager
def service(end: Namespace, address: str = "0.0.0.0") -> Iterator[int]:
    """Something that greets whoever connects."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with end.inside():
        listener = socket.create_server((address, 0), family=family)
    stopping = threading.Event()

    def greet() -> None:
        listener.settimeout(0.1)
        while not stopping.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(b"hello")

    thread = threading.Thread(target=greet)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        stopping.set()
        thread.join(60)
        listener.close()


def reaches(end: Namespace, port: int, *, source: str = THERE, target: str = HERE, patience_s: float = 1.0) -> bool:
    """Whether a greeting comes; a drop is silence, which has to be waited for."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with end.inside(), socket.socket(family) as talk:
        talk.settimeout(patience_s)
        talk.bind((source, 0))
        try:
            talk.connect((target, port))
            return talk.recv(5) == b"hello"
        except OSError:
            return False


def test_an_approved_block_stops_real_traffic_and_undo_lets_it_through_again(
    tmp_path: Path, ends: tuple[Namespace, Namespace]
) -> None:
    here, there = ends
    people = People(tmp_path)
    settings = write_settings(tmp_path, management=["198.51.100.0/24"])
    order = make_order("nft.block", {"address": THERE, "ttl_s": LONG_S})
    with service(here) as port, helper_running(settings, "ip", "netns", "exec", here.name):
        assert reaches(there, port, patience_s=60)
        with there.inside():
            standing = socket.create_connection((HERE, port), 60, (THERE, 0))
        tried = ask(tmp_path / "s", {"step": "try", "order": order.body()})

        done = ask(tmp_path / "s", {"step": "do", "approvals": people.approvals(order)})

        standing.close()
        assert tried["facts"]["sessions"] >= 1, "the session that stood was not counted"
        assert done["ok"] and done["state"] == "done" and done["holds"], done
        assert order.nonce in _elements(here)
        assert not reaches(there, port)
        assert reaches(there, port, source=MANAGER, target="198.51.100.1", patience_s=60), "the way in was cut"
        again = ask(tmp_path / "s", {"step": "do", "approvals": people.approvals(order)})
        assert again == done

        undone = ask(tmp_path / "s", {"step": "undo", "nonce": order.nonce})

        assert undone["ok"] and undone["state"] == "undone", undone
        assert reaches(there, port, patience_s=60)
        replayed = ask(tmp_path / "s", {"step": "do", "approvals": people.approvals(order)})
        assert replayed["state"] == "undone"
        assert _elements(here) == "", "an approval was used twice"


def test_the_kernel_ends_a_block_when_helper_and_engine_are_dead(
    tmp_path: Path, ends: tuple[Namespace, Namespace]
) -> None:
    here, there = ends
    people = People(tmp_path)
    order = make_order("nft.block", {"address": THERE, "ttl_s": 2})
    with (
        service(here) as port,
        helper_running(write_settings(tmp_path), "ip", "netns", "exec", here.name) as helper,
    ):
        assert ask(tmp_path / "s", {"step": "do", "approvals": people.approvals(order)})["ok"]
        helper.kill()
        helper.wait(60)

        wait_for(lambda: _elements(here) == "", "the kernel lets the address go")

        assert reaches(there, port, patience_s=60)


def test_an_isolated_host_is_reached_by_its_managers_alone(tmp_path: Path, ends: tuple[Namespace, Namespace]) -> None:
    here, there = ends
    people = People(tmp_path)
    settings = write_settings(tmp_path, management=["198.51.100.0/24"])
    order = make_order("host.isolate", {"ttl_s": LONG_S})
    with (
        service(here) as port,
        service(there) as outside,
        helper_running(settings, "ip", "netns", "exec", here.name),
    ):
        assert reaches(there, port, patience_s=60)

        done = ask(tmp_path / "s", {"step": "do", "approvals": people.approvals(order)})

        assert done["ok"] and done["holds"], done
        assert not reaches(there, port)
        assert not reaches(here, outside, source=HERE, target=THERE)
        assert reaches(there, port, source=MANAGER, target="198.51.100.1", patience_s=60)
        assert reaches(here, port, source="127.0.0.1", target="127.0.0.1", patience_s=60)
        undone = ask(tmp_path / "s", {"step": "undo", "nonce": order.nonce})
        assert undone["state"] == "undone"
        assert reaches(there, port, patience_s=60)


def test_what_keeps_the_host_alive_is_never_blocked(tmp_path: Path, ends: tuple[Namespace, Namespace]) -> None:
    here, _ = ends
    here.ip("route", "add", "default", "via", "192.0.2.254")
    people = People(tmp_path)
    settings = write_settings(tmp_path, management=["198.51.100.0/24"], never_block=["203.0.113.7/32"])
    refused = {}
    with helper_running(settings, "ip", "netns", "exec", here.name):
        for address in (HERE, "192.0.2.254", MANAGER, "203.0.113.7", "127.0.0.9", "224.0.0.1", "0.0.0.0", "fe80::1"):
            order = make_order("nft.block", {"address": address, "ttl_s": 60})
            refused[address] = ask(tmp_path / "s", {"step": "do", "approvals": people.approvals(order)})

        other = make_order("nft.block", {"address": "203.0.113.8", "ttl_s": 60})
        assert ask(tmp_path / "s", {"step": "do", "approvals": people.approvals(other)})["ok"]

    assert {address: answer.get("kind") for address, answer in refused.items()} == dict.fromkeys(refused, "refused")
    assert "our own" in refused[HERE]["why"] and "a gateway" in refused["192.0.2.254"]["why"]


def test_isolation_without_a_way_back_in_is_refused(tmp_path: Path, ends: tuple[Namespace, Namespace]) -> None:
    here, _ = ends
    people = People(tmp_path)
    order = make_order("host.isolate", {"ttl_s": 60})
    with helper_running(write_settings(tmp_path), "ip", "netns", "exec", here.name):
        answer = ask(tmp_path / "s", {"step": "do", "approvals": people.approvals(order)})

    assert answer["kind"] == "refused" and "management" in answer["why"]


def test_management_networks_that_overlap_are_one_to_the_kernel(
    tmp_path: Path, ends: tuple[Namespace, Namespace]
) -> None:
    here, there = ends
    people = People(tmp_path)
    overlapping = ["198.51.0.0/16", "198.51.100.0/24", "198.51.100.9/32", "fd00::/16", "fd00:1::/64"]
    settings = write_settings(tmp_path, management=overlapping)
    order = make_order("host.isolate", {"ttl_s": LONG_S})
    with service(here) as port, helper_running(settings, "ip", "netns", "exec", here.name):
        done = ask(tmp_path / "s", {"step": "do", "approvals": people.approvals(order)})

        assert done["ok"] and done["holds"], done
        assert not reaches(there, port)
        assert reaches(there, port, source=MANAGER, target="198.51.100.1", patience_s=60)


@pytest.mark.parametrize("verb", ["nft.block", "host.isolate"])
def test_what_nft_would_refuse_is_said_when_it_is_tried_and_nothing_is_loaded(
    tmp_path: Path, ends: tuple[Namespace, Namespace], verb: str
) -> None:
    here, _ = ends
    arguments = {"nft.block": {"address": "203.0.113.8"}, "host.isolate": {}}[verb]
    order = make_order(verb, {**arguments, "ttl_s": 60})
    with helper_running(write_settings(tmp_path, management=["198.51.100.0/24"]), "ip", "netns", "exec", here.name):
        good = ask(tmp_path / "s", {"step": "try", "order": order.body()})
        assert good["ok"] and "govsec_response" not in _nft(here, "list", "tables"), good
        # Somebody else's table of our name, with a set that is not as ours.
        _nft(here, "add", "table", "inet", "govsec_response")
        _nft(here, "add", "set", "inet", "govsec_response", "manage4", "{ type inet_service; }")

        tried = ask(tmp_path / "s", {"step": "try", "order": order.body()})

    assert tried["kind"] == "refused" and "nft" in tried["why"], tried


def test_a_name_server_behind_the_stub_of_this_host_is_never_blocked(tmp_path: Path) -> None:
    require("ip")
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\nnameserver\nnameserver what?\n", encoding="utf-8")
    real.write_text("search example.org\nnameserver 203.0.113.53\nnameserver fe80::1%eth0\n", encoding="utf-8")
    block = Block([], [], name_servers=(stub, tmp_path / "none", real))

    with pytest.raises(RefusedError, match="a name server"):
        block.plan({"address": "203.0.113.53", "ttl_s": 60}, 1)


def test_addresses_that_mean_everybody_are_never_blocked(tmp_path: Path, ends: tuple[Namespace, Namespace]) -> None:
    here, _ = ends
    # The one is told by the interface; of the other the kernel makes a broadcast address without saying so.
    here.ip("address", "add", "203.0.113.1/24", "broadcast", "203.0.113.77", "dev", here.interface)
    refused = {}
    with helper_running(write_settings(tmp_path), "ip", "netns", "exec", here.name):
        for address in ("255.255.255.255", "203.0.113.77", "192.0.2.255"):
            order = make_order("nft.block", {"address": address, "ttl_s": 60})
            refused[address] = ask(tmp_path / "s", {"step": "try", "order": order.body()})

    assert {address: answer.get("kind") for address, answer in refused.items()} == dict.fromkeys(refused, "refused")
    assert "never blocked" in refused["192.0.2.255"]["why"], refused


def test_what_a_restart_swept_away_is_put_back_also_when_the_kernel_refuses_it_at_first(
    tmp_path: Path, ends: tuple[Namespace, Namespace]
) -> None:
    here, _ = ends
    people = People(tmp_path)
    order = make_order("nft.block", {"address": THERE, "ttl_s": LONG_S})
    table = ("table", "inet", "govsec_response")
    with helper_running(write_settings(tmp_path), "ip", "netns", "exec", here.name):
        assert ask(tmp_path / "s", {"step": "do", "approvals": people.approvals(order)})["ok"]
    _nft(here, "delete", *table)
    # What is in the way when it starts again: a set of the name of ours that is another.
    _nft(here, "add", *table)
    _nft(here, "add", "set", *table[1:], "manage4", "{ type inet_service; }")
    with helper_running(tmp_path / "helper.toml", "ip", "netns", "exec", here.name):
        answer = ask(tmp_path / "s", {"step": "check", "nonce": order.nonce})
        assert answer.get("kind") == "refused" or not answer["holds"], answer

        _nft(here, "delete", *table)

        wait_for(lambda: THERE in _elements(here), "it is put back")
        assert _lasting_s(here) <= LONG_S


def test_two_blocks_of_one_address_hold_until_both_are_taken_back(
    tmp_path: Path, ends: tuple[Namespace, Namespace]
) -> None:
    here, _ = ends
    people = People(tmp_path)
    first, second = (make_order("nft.block", {"address": THERE, "ttl_s": ttl_s}) for ttl_s in (LONG_S, 1800))
    with helper_running(write_settings(tmp_path), "ip", "netns", "exec", here.name):
        for order in (first, second):
            assert ask(tmp_path / "s", {"step": "do", "approvals": people.approvals(order)})["ok"]
        assert _lasting_s(here) > 1800, "the second one shortened it"

        kept = ask(tmp_path / "s", {"step": "undo", "nonce": first.nonce})
        assert kept["facts"]["kept_for"] == second.nonce
        assert THERE in _elements(here)
        ask(tmp_path / "s", {"step": "undo", "nonce": second.nonce})

        assert _elements(here) == ""


def _elements(end: Namespace) -> str:
    done = subprocess.run(
        ["ip", "netns", "exec", end.name, "nft", "list", "set", "inet", "govsec_response", "block4"],
        check=False,
        capture_output=True,
        text=True,
    )
    return done.stdout.partition("elements")[2]


def _nft(end: Namespace, *argv: str) -> str:
    done = subprocess.run(["ip", "netns", "exec", end.name, "nft", *argv], check=True, capture_output=True, text=True)
    return done.stdout


def _lasting_s(end: Namespace) -> int:
    done = subprocess.run(
        ["ip", "netns", "exec", end.name, "nft", "-j", "list", "set", "inet", "govsec_response", "block4"],
        check=True,
        capture_output=True,
        text=True,
    )
    (element,) = json.loads(done.stdout)["nftables"][1]["set"]["elem"]
    return int(element["elem"]["timeout"])


def test_ipv6_is_blocked_and_isolated_like_ipv4(tmp_path: Path, ends: tuple[Namespace, Namespace]) -> None:
    here, there = ends
    for end, address in ((here, "fd00:1::1"), (there, "fd00:1::2")):
        with end.inside():
            Path(f"/proc/sys/net/ipv6/conf/{end.interface}/disable_ipv6").write_text("0")
        end.ip("address", "add", f"{address}/64", "dev", end.interface, "nodad")
    there.ip("address", "add", "fd00:1::9/64", "dev", there.interface, "nodad")
    people = People(tmp_path)
    settings = write_settings(tmp_path, management=["fd00:1::9/128"])
    with service(here, "::") as port, helper_running(settings, "ip", "netns", "exec", here.name):
        from_there = {"source": "fd00:1::2", "target": "fd00:1::1"}
        assert reaches(there, port, **from_there, patience_s=60)
        block = make_order("nft.block", {"address": "fd00:1::2", "ttl_s": LONG_S})
        done = ask(tmp_path / "s", {"step": "do", "approvals": people.approvals(block)})
        assert done["ok"] and done["holds"], done
        assert not reaches(there, port, **from_there)
        ask(tmp_path / "s", {"step": "undo", "nonce": block.nonce})
        assert reaches(there, port, **from_there, patience_s=60)

        isolate = make_order("host.isolate", {"ttl_s": LONG_S})
        assert ask(tmp_path / "s", {"step": "do", "approvals": people.approvals(isolate)})["holds"]

        assert not reaches(there, port, **from_there)
        # Neighbours are still found, or the managers could not come in either.
        here.ip("neigh", "flush", "dev", here.interface)
        assert reaches(there, port, source="fd00:1::9", target="fd00:1::1", patience_s=60)
