from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from govsec.errors import ConfigurationError, LimitError
from govsec.localfile import read_bounded, read_given


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")

    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(LimitError, match="larger than 4 bytes"):
        read_bounded(path, 4)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    (tmp_path / "link").symlink_to(secret)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    try:
        for name in ("link", "pipe", "folder", "socket", "missing"):
            with pytest.raises(OSError, match=name) as caught:
                read_bounded(tmp_path / name, 100)
            assert caught.value.strerror
        with pytest.raises(OSError, match="zero"):
            read_bounded(Path("/dev/zero"), 100)
    finally:
        listener.close()


def test_a_file_that_says_it_is_empty_is_still_bounded() -> None:
    # Files of /proc have no size and much to say.
    with pytest.raises(LimitError):
        read_bounded(Path("/proc/self/status"), 10)


def test_a_named_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")

    for path in (tmp_path / "none", tmp_path / "link", tmp_path):
        with pytest.raises(ConfigurationError, match=re.escape(str(path))):
            read_given(path, 10)
    (tmp_path / "large").write_bytes(b"x" * 11)
    with pytest.raises(LimitError):
        read_given(tmp_path / "large", 10)
    assert read_given(tmp_path / "large", 11) == b"x" * 11


def test_a_large_bound_costs_no_memory(tmp_path: Path) -> None:
    # In an agent memory is limited, and a bound of a gibibyte was taken from it before a byte was read.
    (tmp_path / "small").write_bytes(b"x" * 5000)
    program = """
import resource, sys
from pathlib import Path
from govsec.localfile import read_bounded
resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
print(len(read_bounded(Path(sys.argv[1]), 1 << 30)), len(read_bounded(Path("/proc/self/status"), 1 << 30)) > 100)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "small")],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split() == ["5000", "True"]
