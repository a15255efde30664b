"""The closed list of deeds: what each is told, how many persons must approve it, and who does it.

The numbers of persons here are the least; a playbook asks for as many or more, and the root helper counts for itself.
``backup.freeze`` needs nobody, because it only keeps data and ends by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from govsec.config import Model, Name
from govsec.errors import ConfigurationError, RefusedError
from govsec.responseentry import FREEZE_DAYS_MAX

DAY_S = 86_400
#: As the helper's own default; what lasts longer is a rule of the firewall, and people's to write.
TTL_MAX_S = DAY_S
_Ttl = Annotated[int, Field(ge=1, le=TTL_MAX_S)]


def _plain_address(text: str) -> str:
    if str(ip_address(text)) != text or "%" in text:
        raise ValueError("not an address in its plain form")
    return text


class _Arguments(Model):
    #: Seconds until it is taken back.
    ttl_s: _Ttl


class BlockArguments(_Arguments):
    """``nft.block``."""

    address: Annotated[str, AfterValidator(_plain_address)]


class IsolateArguments(_Arguments):
    """``host.isolate``."""


class DisableArguments(_Arguments):
    """``account.disable``."""

    account: str = Field(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$")


class SuspendArguments(_Arguments):
    """``process.suspend``: the process of this number that started at this tick, and no other."""

    pid: int = Field(ge=2, le=1 << 22)
    started: int = Field(ge=1)


class FreezeArguments(Model):
    """``backup.freeze``: of one system, or with ``*`` of all that this site knows."""

    system: Name | Literal["*"]
    ttl_s: int = Field(ge=60, le=FREEZE_DAYS_MAX * DAY_S)


class RecoverArguments(Model):
    """``dr.recover``: a recovery plan of the configuration, by its name."""

    system: Name
    plan: Name
    #: Of the plan as it stood when this was proposed; filled in then. Another plan of the same name is not approved.
    plan_digest: str = Field(default="", pattern=r"^[0-9a-f]{0,64}$")


@dataclass(frozen=True, slots=True)
class VerbKind:
    """One verb. ``is_privileged``: the root helper does it, and asks for at least one approval itself."""

    name: str
    arguments: type[Model]
    approvals_min: int
    is_privileged: bool = True


VERBS: Mapping[str, VerbKind] = {
    kind.name: kind
    for kind in (
        VerbKind("nft.block", BlockArguments, 1),
        VerbKind("host.isolate", IsolateArguments, 1),
        VerbKind("account.disable", DisableArguments, 1),
        VerbKind("process.suspend", SuspendArguments, 1),
        VerbKind("backup.freeze", FreezeArguments, 0, is_privileged=False),
        VerbKind("dr.recover", RecoverArguments, 2, is_privileged=False),
    )
}


def verb_of(name: str) -> VerbKind:
    """The verb. Raises ``RefusedError`` when there is none of this name."""
    found = VERBS.get(name)
    if found is None:
        raise RefusedError(f"verb {name[:40]!r}: there are {', '.join(VERBS)}")
    return found


def check_live(live: tuple[str, ...]) -> frozenset[str]:
    """Verbs that are really done. Raises ``ConfigurationError`` for one that there is not."""
    for name in live:
        if name not in VERBS:
            raise ConfigurationError(f"response.live: verb {name}: there are {', '.join(VERBS)}")
    return frozenset(live)
