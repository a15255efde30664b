"""What a child process may see of the parent's environment: nothing that opens a door.

Programs that govsec starts (a dump command, a probe, a configuration step) are other people's. Passwords and tokens in
the environment would be readable by them, and by everybody who may look at their ``/proc`` entry.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

#: Names of variables that carry secrets or lead to them, of the programs that meet on a backup host.
_SECRET = re.compile(
    r"(?i)\A(?:GOVSEC_.*|RESTIC_.*|BORG_.*|AWS_.*|S3_.*|B2_.*|AZURE_.*|GOOGLE_.*|OS_.*|ST_.*|CREDENTIALS_DIRECTORY"
    r"|.*(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY).*)\Z"
)


def child_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """``environment`` (this process's when None) without the variables that carry secrets."""
    source = os.environ if environment is None else environment
    return {name: value for name, value in source.items() if not _SECRET.match(name)}
