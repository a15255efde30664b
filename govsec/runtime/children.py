"""What a child process may see of the parent's environment, nothing that opens a door; and that it dies with it.

Programs that govsec starts (a dump command, a probe, a configuration step) are other people's. Passwords and tokens in
the environment would be readable by them, and by everybody who may look at their ``/proc`` entry.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
from collections.abc import Mapping

#: Names of variables that carry secrets or lead to them, of the programs that meet on a backup host.
_SECRET = re.compile(
    r"(?i)\A(?:GOVSEC_.*|RESTIC_.*|BORG_.*|AWS_.*|S3_.*|B2_.*|AZURE_.*|GOOGLE_.*|OS_.*|ST_.*|CREDENTIALS_DIRECTORY"
    r"|.*(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY).*)\Z"
)


_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have the kernel kill this process when ``parent`` dies; end it now when that has happened already.

    To be called again after a change of user or capabilities, which makes the kernel forget it (prctl(2)).

    Raises:
        OSError: the kernel refuses.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_PDEATHSIG): {os.strerror(number)}")
    if os.getppid() != parent:
        os._exit(0)


def child_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """``environment`` (this process's when None) without the variables that carry secrets."""
    source = os.environ if environment is None else environment
    return {name: value for name, value in source.items() if not _SECRET.match(name)}
