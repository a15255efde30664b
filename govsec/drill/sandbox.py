"""Where the commands of a plan run: an own user, no network but a loopback of its own, limits, and no secrets.

One sandbox is a set of Linux namespaces (network, processes, mounts, IPC, host name) that a small holder process keeps
open, so that a service started by one step answers the probe of the next. The restored tree is mounted at
:data:`INSIDE`, without devices and set-user-id; ``/tmp`` and ``/proc`` are the sandbox's own. When the holder's
standard input closes, also because the drill was killed, the kernel ends everything inside.

Each command goes through ``nsenter``, ``prlimit`` and ``setpriv`` of util-linux: into the namespaces, under the limits,
to the unprivileged user without capabilities and without a way to gain any.

:class:`OpenSandbox` has the same interface and no isolation, for plans that say ``allow_unisolated``.
"""

from __future__ import annotations

import os
import pwd
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from govsec.clock import Clock
from govsec.drill.child import call_in_child, drop_privileges, enter_namespaces
from govsec.drill.plan import Isolation
from govsec.drill.process import CommandOutcome, kill_group, run_command
from govsec.errors import ConfigurationError, RefusedError
from govsec.runtime.children import child_environment

#: Where commands inside find the restored tree.
INSIDE = "/tmp/restored"  # noqa: S108 - the sandbox's own /tmp
_TOOLS = ("unshare", "nsenter", "prlimit", "setpriv", "env")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Runs as process 1 of the sandbox. MS_* as in linux/mount.h; SIOCSIFFLAGS 0x8914 with IFF_UP | IFF_RUNNING.
_HOLDER = r"""
import ctypes, fcntl, os, signal, socket, struct, sys
MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 32, 4096, 16384, 1 << 18
libc = ctypes.CDLL(None, use_errno=True)
def mount(source, target, kind, flags, data=None):
    if libc.mount(source, target, kind, ctypes.c_ulong(flags), data):
        raise OSError(ctypes.get_errno(), "mount " + target.decode())
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
outer_pid = os.readlink("/proc/self")
mount(b"none", b"/", None, MS_REC | MS_PRIVATE)
keep = os.open(os.fsencode(sys.argv[1]), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
mount(b"tmpfs", b"/tmp", b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=1777,size=64m")
os.mkdir(sys.argv[2], 0o755)
inside = sys.argv[2].encode()
mount(b"/proc/self/fd/%d" % keep, inside, None, MS_BIND)
mount(b"none", inside, None, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV)
mount(b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as loopback:
    fcntl.ioctl(loopback, 0x8914, struct.pack("16sH14x", b"lo", 0x41))
os.close(keep)
os.write(1, outer_pid.encode() + b"\n")
while os.read(0, 1):
    pass
"""


class Sandbox(Protocol):
    """Runs what a plan asks for."""

    @property
    def tree(self) -> str:
        """The restored tree's path as commands see it."""
        ...

    @property
    def reason(self) -> str:
        """Why there is no isolation; empty where there is."""
        ...

    def run(self, argv: Sequence[str], timeout_s: float) -> CommandOutcome:
        """Run a command to its end."""
        ...

    def spawn(self, argv: Sequence[str]) -> str:
        """Start a command that stays; gives what is wrong, or nothing."""
        ...

    def call(self, function: Callable[[], dict[str, Any]], timeout_s: float) -> dict[str, Any]:
        """Run a function of ours in a child under the same rules (see :func:`govsec.drill.child.call_in_child`)."""
        ...

    def close(self) -> None:
        """End everything inside."""
        ...


def why_not_isolated(isolation: Isolation) -> str:
    """What keeps this machine from isolating, empty when nothing does.

    Raises:
        ConfigurationError: the plan's user does not exist or is root.
    """
    if sys.platform != "linux":
        return f"namespaces need Linux, this is {sys.platform}"
    if os.geteuid() != 0:
        return "an own user and network need root, this process is not"
    missing = [tool for tool in _TOOLS if shutil.which(tool, path=_PATH) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (util-linux, coreutils)"
    _account(isolation.user)
    return ""


def open_sandbox(isolation: Isolation, tree: Path, clock: Clock) -> Sandbox:
    """An isolated sandbox over ``tree``; without isolation only where the plan allows it.

    Raises:
        RefusedError: isolation is impossible here and the plan does not say ``allow_unisolated``.
    """
    reason = why_not_isolated(isolation)
    if not reason:
        try:
            return NamespaceSandbox(isolation, tree, clock)
        except RefusedError as error:
            reason = str(error)
    if isolation.allow_unisolated:
        return OpenSandbox(isolation, tree, clock, reason)
    raise RefusedError(f"the plan's commands cannot be isolated: {reason}; the plan does not say allow_unisolated")


class NamespaceSandbox:
    """The isolated one."""

    def __init__(self, isolation: Isolation, tree: Path, clock: Clock) -> None:
        self._isolation = isolation
        self._clock = clock
        self._account = _account(isolation.user)
        self._spawned: list[subprocess.Popen[bytes]] = []
        try:
            self._holder = subprocess.Popen(
                [
                    *("unshare", "--net", "--pid", "--ipc", "--uts", "--mount", "--fork", "--kill-child", "--"),
                    *(sys.executable, "-I", "-S", "-c", _HOLDER, str(tree), INSIDE),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={"PATH": _PATH},
                start_new_session=True,
            )
        except OSError as error:
            raise RefusedError(f"the sandbox cannot be started: {error.strerror}") from error
        self._pid = self._await_ready()

    @property
    def tree(self) -> str:
        return INSIDE

    @property
    def reason(self) -> str:
        return ""

    def run(self, argv: Sequence[str], timeout_s: float) -> CommandOutcome:
        return run_command(
            self._wrapped(argv), environment=self._environment(), cwd=None, timeout_s=timeout_s, clock=self._clock
        )

    def spawn(self, argv: Sequence[str]) -> str:
        return _spawn(self._spawned, self._wrapped(argv), self._environment(), None)

    def call(self, function: Callable[[], dict[str, Any]], timeout_s: float) -> dict[str, Any]:
        def enter() -> None:
            enter_namespaces(self._pid)
            _limit(self._isolation)
            drop_privileges(self._account.pw_uid, self._account.pw_gid)

        return call_in_child(function, enter, timeout_s=timeout_s, clock=self._clock)

    def close(self) -> None:
        for process in self._spawned:
            kill_group(process)
        for pipe in (self._holder.stdin, self._holder.stdout, self._holder.stderr):
            if pipe is not None:
                pipe.close()
        # Its end closes the sandbox: as process 1 it takes everything inside along.
        kill_group(self._holder)

    def _await_ready(self) -> int:
        assert self._holder.stdout is not None and self._holder.stderr is not None  # both were asked for
        line = self._holder.stdout.readline(64)
        if not line.strip().isdigit():
            said = self._holder.stderr.read(2000).decode("utf-8", "backslashreplace").strip().splitlines()
            self.close()
            raise RefusedError(f"the sandbox cannot be made: {said[-1] if said else 'no reason given'}")
        return int(line)

    def _wrapped(self, argv: Sequence[str]) -> list[str]:
        limits = self._isolation
        return [
            *("nsenter", "--target", str(self._pid), "--net", "--pid", "--ipc", "--uts", "--mount"),
            "--",
            *("prlimit", f"--as={limits.memory_bytes}", f"--cpu={limits.cpu_s}", f"--nproc={limits.processes_max}"),
            *("--core=0", "--"),
            *("setpriv", f"--reuid={self._account.pw_uid}", f"--regid={self._account.pw_gid}", "--clear-groups"),
            *("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--"),
            *("env", f"--chdir={INSIDE}", "--"),
            *argv,
        ]

    def _environment(self) -> dict[str, str]:
        return {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": INSIDE, "GOVSEC_DRILL_TARGET": INSIDE}


class OpenSandbox:
    """The same without isolation."""

    def __init__(self, isolation: Isolation, tree: Path, clock: Clock, reason: str) -> None:
        self._isolation = isolation
        self._tree = tree
        self._clock = clock
        self._spawned: list[subprocess.Popen[bytes]] = []
        self._reason = reason

    @property
    def tree(self) -> str:
        return str(self._tree)

    @property
    def reason(self) -> str:
        return self._reason

    def run(self, argv: Sequence[str], timeout_s: float) -> CommandOutcome:
        return run_command(argv, environment=self._environment(), cwd=self.tree, timeout_s=timeout_s, clock=self._clock)

    def spawn(self, argv: Sequence[str]) -> str:
        return _spawn(self._spawned, argv, self._environment(), self.tree)

    def call(self, function: Callable[[], dict[str, Any]], timeout_s: float) -> dict[str, Any]:
        return call_in_child(function, lambda: _limit(self._isolation), timeout_s=timeout_s, clock=self._clock)

    def close(self) -> None:
        for process in self._spawned:
            kill_group(process)

    def _environment(self) -> dict[str, str]:
        return child_environment() | {"GOVSEC_DRILL_TARGET": self.tree}


def account_of(isolation: Isolation) -> tuple[int, int]:
    """The user and group number that the isolated commands run as."""
    account = _account(isolation.user)
    return account.pw_uid, account.pw_gid


def _account(user: str) -> pwd.struct_passwd:
    try:
        account = pwd.getpwnam(user)
    except KeyError as error:
        raise ConfigurationError(f"isolation: there is no user {user!r}") from error
    if account.pw_uid == 0 or account.pw_gid == 0:
        raise ConfigurationError(f"isolation: user {user!r} is root, or of root's group")
    return account


def _limit(isolation: Isolation) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (isolation.memory_bytes, isolation.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (isolation.cpu_s, isolation.cpu_s))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _spawn(
    spawned: list[subprocess.Popen[bytes]], argv: Sequence[str], environment: dict[str, str], cwd: str | None
) -> str:
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return f"cannot be started: {error}"
    spawned.append(process)
    with suppress(subprocess.TimeoutExpired):
        # Long enough to see a command that is not there; a service that dies later fails its probe.
        code = process.wait(0.3)
        return "" if code == 0 else f"ended at once with exit code {code}"
    return ""
