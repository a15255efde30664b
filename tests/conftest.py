"""Fixtures that every room's tests may use. Servers start when the first test asks, once a session."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from govsec.testing.clock import FakeClock
from tests.support.authority import Authority, make_authority
from tests.support.servers import S3Server, start_ceph, start_seaweed

# The same examples in every run, and no deadline: timings live in bench/, and the machine may be busy.
settings.register_profile("govsec", deadline=None, derandomize=True)
settings.load_profile("govsec")
# A shell without job control starts what runs in its background with Ctrl-C ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def servers_directory() -> Iterator[Path]:
    # Short paths: the servers put unix sockets below, whose names hold 107 bytes.
    with tempfile.TemporaryDirectory(prefix="govsec-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def authority(servers_directory: Path) -> Authority:
    return make_authority(servers_directory / "authority")


@pytest.fixture(scope="session")
def seaweed(servers_directory: Path, authority: Authority) -> Iterator[S3Server]:
    server = start_seaweed(servers_directory / "seaweed", authority)
    yield server
    server.kill()


@pytest.fixture(scope="session")
def ceph(servers_directory: Path, authority: Authority) -> Iterator[S3Server]:
    server = start_ceph(servers_directory / "ceph", authority)
    yield server
    server.kill()


@pytest.fixture(scope="session", params=["seaweed", "ceph"])
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Each real server in turn."""
    server = request.getfixturevalue(request.param)
    assert isinstance(server, S3Server)
    return server
