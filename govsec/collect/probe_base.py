"""What every probe has: its kind, its limits, its identity, and the safe text that its arguments consist of.

A probe asks one question about a host. It is data (packs hold it), it is typed (nothing but what its model allows is
ever sent to a host), and its *identity* is the digest of its canonical JSON without defaults, so that equal questions
of many checks are asked once, and a field that is added later with a default changes no identity.

It does not know shells (``script.py``), nor how an answer is read (``parse_*.py``). Each probe's docstring gives the
exact shape of the fact that comes out. In all of them: every key that is printed is always there unless the docstring
says otherwise, ``null`` means that the host could not say, ``truncated`` that a limit was hit, times are RFC 3339.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from govsec.canonical import digest

Privilege: TypeAlias = Literal["none", "sudo"]

#: Files whose contents never leave a host, however a pack asks: names of path parts, matched as a shell would.
#: The same list is compiled into the script, where it is applied once more to the resolved path (symbolic links).
SECRET_PATHS: tuple[str, ...] = (
    "/etc/shadow*", "/etc/gshadow*", "/etc/security/opasswd*", "/etc/ppp/*secrets*", "/etc/ssl/private/*",
    "/etc/pki/tls/private/*", "/etc/wpa_supplicant/*", "/etc/ipsec.secrets*", "/etc/swanctl/private/*",
    "/etc/NetworkManager/system-connections/*", "/etc/openvpn/*key*", "/etc/wireguard/*", "/etc/krb5.keytab",
    "/proc/*/environ", "/proc/*/cmdline", "/proc/*/mem", "/proc/kcore", "/dev/*", "/etc/libvirt/secrets/*",
    "*/.ssh/*", "*/ssh_host_*_key", "*/.pgpass", "*/.my.cnf", "*/.mylogin.cnf", "*/.netrc", "*/.git-credentials",
    "*/.docker/config.json", "*/.aws/*", "*/.kube/*", "*_history", "*.key", "*.pem", "*.p12", "*.pfx", "*.jks",
    "*.keytab", "*.kdbx", "*.htpasswd", "*htpasswd*", "*.env", "*/.env*", "/run/secrets/*", "/var/run/secrets/*",
)  # fmt: skip

_PATH = re.compile(r"/[^\x00-\x1f\x7f]*")
_GLOB = re.compile(r"/[A-Za-z0-9_./*?\[\]@+,:= -]*")


def _safe_path(path: str) -> str:
    if not _PATH.fullmatch(path) or "/../" in f"{path}/" or "//" in path:
        raise ValueError(f"a path must be absolute, printable and without '..' or '//': {path!r}")
    return path


def _safe_glob(pattern: str) -> str:
    if not _GLOB.fullmatch(pattern) or "/../" in f"{pattern}/" or "//" in pattern:
        raise ValueError(f"a file pattern must be absolute, of letters, digits and . _ - * ? [ ]: {pattern!r}")
    return pattern


HostPath = Annotated[str, Field(min_length=2, max_length=500), AfterValidator(_safe_path)]
HostGlob = Annotated[str, Field(min_length=2, max_length=500), AfterValidator(_safe_glob)]
#: A user, group, package, unit, module or process name.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@:+-]*$", max_length=120)]
#: A host name or address literal, as a target of a connection from the host itself.
Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]*$|^::[0-9A-Fa-f:.]*$", max_length=253)]


class ProbeModel(BaseModel):
    """The fields that all probes share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    #: ``sudo``: answered as root, through ``sudo -n`` where the session is not root's; else ``denied``.
    privilege: Privilege = "none"
    #: For each command that the probe runs on the host.
    timeout_s: int = Field(default=5, ge=1, le=60)

    @property
    def identity(self) -> str:
        """SHA-256 over the kind and every field that differs from its default, as 64 hex digits."""
        fields: dict[str, JsonValue] = self.model_dump(mode="json", exclude_defaults=True)
        return digest({**fields, "kind": self.kind})
