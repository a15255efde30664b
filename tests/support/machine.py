"""A machine of its own for the tests: systemd as process 1 over this one's files, which keeps nothing of what it does.

Namespaces of mounts, processes, network, names and control groups; the files are this machine's under an overlay in
memory. ``/opt/govsec`` is an installation that runs the tree under test. The kernel is the machine's, so what its first
namespaces alone are told (the process connector) is not told here.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.require import missing, require_root

ROOT = Path(__file__).resolve().parents[2]
_SYSTEMD = Path("/lib/systemd/systemd")
#: The packaged interpreter: one below a home directory is hidden from units, as they say.
_PYTHON = Path("/usr/bin/python3")
_BOOT_MAX_S = 60.0
#: What a start of a whole machine would do to the kernel that is shared.
_MASKED = (
    *(f"systemd-udev{name}" for name in ("d.service", "d-control.socket", "d-kernel.socket", "-trigger.service")),
    *(f"systemd-{name}.service" for name in ("sysctl", "modules-load", "binfmt", "remount-fs", "random-seed")),
    *("systemd-timesyncd.service", "systemd-journal-flush.service", "kmod-static-nodes.service", "getty.target"),
)

_INSIDE = r"""
set -e
mount --make-rprivate /
B="$1"; SOURCE="$2"; SITE="$3"; GROUP="$4"
mount -t tmpfs tmpfs "$B" -o mode=755
R="$B/root"
mkdir "$B/upper" "$B/work" "$B/groups" "$R"
mount -t cgroup2 cgroup2 "$B/groups"
mkdir "$B/groups/$GROUP"
echo $$ > "$B/groups/$GROUP/cgroup.procs"
umount "$B/groups"
mount -t overlay overlay -o "lowerdir=/,upperdir=$B/upper,workdir=$B/work" "$R"
mount -t proc proc "$R/proc"
mount -t sysfs sysfs "$R/sys"
mount -t tmpfs tmpfs "$R/dev" -o mode=755
for name in null zero full random urandom tty; do touch "$R/dev/$name"; mount --bind "/dev/$name" "$R/dev/$name"; done
mkdir "$R/dev/pts" "$R/dev/shm"
mount -t devpts devpts "$R/dev/pts" -o newinstance,ptmxmode=0666
ln -s pts/ptmx "$R/dev/ptmx"; ln -s /proc/self/fd "$R/dev/fd"
mount -t tmpfs tmpfs "$R/dev/shm"
mount -t tmpfs tmpfs "$R/run" -o mode=755
mount -t tmpfs tmpfs "$R/tmp" -o mode=1777
rm -rf "$R/opt/govsec" "$R/etc/govsec" "$R/var/lib/govsec" "$R/var/lib/govsec-agent" "$R/var/lib/govsec-helper"
mkdir -p "$R/opt/source" "$R/opt/site" "$R/opt/names"
mount --bind "$SOURCE" "$R/opt/source"; mount --bind "$SITE" "$R/opt/site"
ln -s /opt/source/agents "$R/opt/names/govsec_agents"; ln -s /opt/source/policies "$R/opt/names/govsec_policies"
chroot "$R" /usr/bin/python3 -m venv --without-pip /opt/govsec
for folder in "$R"/opt/govsec/lib/python3*/site-packages; do
  printf '%s\n' /opt/source /opt/names /opt/site > "$folder/govsec.pth"
done
cat > "$R/opt/govsec/bin/govsec" <<'PROGRAM'
#!/opt/govsec/bin/python
import sys
from govsec.cli.main import main
sys.exit(main())
PROGRAM
chmod 755 "$R/opt/govsec/bin/govsec"
mkdir -p "$R/etc/govsec"
UNITS="$R/etc/systemd/system"
cp "$R"/opt/source/agents/units/*.service "$R"/opt/source/agents/units/*.socket "$UNITS"
printf '[Unit]\nRequires=systemd-journald.service\nAfter=systemd-journald.service\n' > "$UNITS/govsec-test.target"
shift 4
for unit in "$@"; do ln -sf /dev/null "$UNITS/$unit"; done
ip link set lo up
mkdir "$R/run/old"
cd "$R"
pivot_root . run/old
umount -l /run/old
mount --make-rshared / # as a machine has it; systemd hands credentials to units by it
# The groups of what this process becomes begin where it is now.
exec unshare --cgroup sh -c '
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=govsec-test.target --log-target=null'
"""

_REMOVE_GROUPS = """
mount -t cgroup2 cgroup2 "$1"
cd "$1"
until find "$2" -depth -type d -exec rmdir {} + 2>/dev/null; do sleep 0.2; done
"""


class Machine:
    """The machine that runs. Commands are given to a shell in it, as root."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def run(self, script: str, *, codes: tuple[int, ...] = (0,), timeout_s: float = 200) -> str:
        """What the script wrote; its exit code must be among ``codes``."""
        inside = ["nsenter", "-t", str(self._pid), "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w"]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/opt/govsec/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
        done = subprocess.run(
            [*inside, "/bin/sh", "-c", script],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=timeout_s,
            start_new_session=True,  # a signal to its group is none of ours
        )
        assert done.returncode in codes, f"{script}: {done.returncode}\n{done.stdout[-4000:]}"
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """A file of root's."""
        self.run(
            f"mkdir -p {shlex.quote(str(Path(path).parent))} && printf %s {shlex.quote(text)} > {shlex.quote(path)}"
        )

    def wait_for(self, script: str, *, timeout_s: float = 120) -> str:
        """Ask again until the script succeeds; its words then."""
        end = time.monotonic() + timeout_s
        while True:
            said = self.run(f"{{ {script}; }} && echo succeeded", codes=(0, 1, 3, 4))
            if said.rstrip().endswith("succeeded"):
                return said
            assert time.monotonic() < end, f"{script}: {said[-2000:]}"
            time.sleep(0.5)


@contextlib.contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """Such a machine, ended with the block; the test is skipped where none can run."""
    require_root()
    if not _SYSTEMD.exists():
        missing("systemd", f"no {_SYSTEMD}")
    if not _PYTHON.exists() or not _is_our_version():
        missing("systemd", f"{_PYTHON} is not Python {sys.version_info.major}.{sys.version_info.minor}")
    base = folder / "machine"
    base.mkdir()
    site = sysconfig.get_paths()["purelib"]
    group = f"govsec-test-{os.getpid()}-{time.monotonic_ns()}"
    apart = ["--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net"]
    with (folder / "boot.log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", *apart, "/bin/sh", "-c", _INSIDE, "sh", str(base), str(ROOT), site, group, *_MASKED],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield Machine(_first_process(process, folder / "boot.log"))
    finally:
        process.send_signal(signal.SIGKILL)  # --kill-child: process 1 goes with it, and with that one all others
        process.wait(60)
        # Of what is left of a process that was killed, the kernel keeps the group until it is gone.
        subprocess.run(
            ["unshare", "--mount", "/bin/sh", "-c", _REMOVE_GROUPS, "sh", str(base), group], check=True, timeout=60
        )


def _first_process(unshare: subprocess.Popen[bytes], log: Path) -> int:
    """The number of the machine's process 1, once its first target is reached."""
    end = time.monotonic() + _BOOT_MAX_S
    while time.monotonic() < end and unshare.poll() is None:
        children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text(encoding="ascii").split()
        for child in children:
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{child}/exe").endswith("/systemd") and _is_up(int(child)):
                    return int(child)
        time.sleep(0.2)
    missing("systemd", f"a systemd of its own does not start here: {log.read_text(errors='replace')[-500:]}")


def _is_up(pid: int) -> bool:
    asked = ["nsenter", "-t", str(pid), "-m", "-p", "-C", "-r", "-w", "systemctl", "is-active", "govsec-test.target"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() == "active"


def _is_our_version() -> bool:
    said = subprocess.run([_PYTHON, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True)
    return said.stdout.split() == [str(part) for part in sys.version_info[:2]]
