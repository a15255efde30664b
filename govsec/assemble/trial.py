"""Trials of the way from an agent's sensors to a person: run, and acknowledged; both go into the signed ledger.

::

    run = run_trial(site, system, "network", host="gate")       self-test, spool, outbox, channels, ledger
    acknowledge(site, system, run.trial.id, code, by="Zhang Wei", key_file=key)
"""

from __future__ import annotations

import hashlib
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import JsonValue, ValidationError

from govsec import canonical
from govsec.agent.control import ask_agent
from govsec.agent.plans import SPOOL_NAME, control_path
from govsec.agent.spool import Spool
from govsec.agent.spoolrecord import Record, verify_chain
from govsec.assemble.agent import agent_directory
from govsec.assemble.ledger import open_ledger
from govsec.assemble.notify import build_channels, channels_of, open_outbox
from govsec.assemble.systems import Site
from govsec.assemble.trialrecord import believed_of, is_here, past_trials
from govsec.config import SystemConfig
from govsec.crypto.document import sign_document
from govsec.crypto.signing import Purpose, Signer
from govsec.errors import (
    ConfigurationError,
    HostUnreachableError,
    RefusedError,
    UsageError,
)
from govsec.ledger.entry import Entry
from govsec.notice.outbox import Item, ItemState, Outbox
from govsec.notice.sender import Sender
from govsec.notice.trial import (
    ACKNOWLEDGED_KIND,
    NOTICE_KIND,
    TRIAL_KIND,
    Acknowledgement,
    Canary,
    CaseRef,
    Delivery,
    Specimen,
    Trial,
    code_sha256,
    new_code,
)
from govsec.records import Evidence, Finding, Notice, Severity

AgentName: TypeAlias = Literal["host", "network"]
_CANARY = "agent.selftest.canary"
#: How far back in a spool an example of a finding is looked for.
_RECORDS_BACK_MAX = 20_000
_PAGE = 1_000
_POLL_S = 0.2
#: Longest wait for channels; a request has thirty seconds, a mail's session fifty.
_SENDING_S = 120.0
_SENDS_MAX = 1_000
_CHANNELS_MAX = 64


@dataclass(frozen=True, slots=True)
class TrialRun:
    """A trial with its place in the ledger."""

    trial: Trial
    entry: Entry


def host_here(site: Site, system: SystemConfig, wanted: str | None) -> str:
    """The registered host that this machine is.

    Raises:
        UsageError: the register has no such host, or it is not clear which of its hosts this one is.
    """
    hosts = system.register_.hosts
    if wanted is not None:
        if wanted not in hosts:
            raise UsageError(f"the register of {system.name} has no host {wanted}: {', '.join(hosts) or 'none'}")
        return wanted
    local = [name for name in hosts if is_here(site.config, name)]
    if len(local) != 1:
        raise UsageError(f"which host of {system.name} is this machine? name it: --host {'|'.join(hosts) or 'NAME'}")
    return local[0]


def run_trial(site: Site, system: SystemConfig, agent: AgentName, *, host: str, limit_s: float = 60.0) -> TrialRun:
    """Have the agent test itself, tell people over the configured channels, and put what came of it on record.

    A self-test that fails, and a channel that takes nothing, are on record as well.

    Raises:
        ConfigurationError: no route leads to anybody, or the ledger has no home here.
        HostUnreachableError: no agent answers. GovsecError: the spool, the outbox or the ledger cannot be used.
    """
    ledger = open_ledger(site, system)
    began = site.clock.now()
    trial_id = f"{began:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    code = new_code()
    notice = Notice(
        key=f"trial#{trial_id}",
        kind=NOTICE_KIND,
        severity=Severity.HIGH,
        time=began,
        system=system.name,
        subject=host,
        summary=f"Trial {trial_id} of the agent {agent} on {host}: whoever reads this gives back the code {code}.",
        facts={"trial": trial_id, "agent": agent, "host": host, "code": code},
    )
    channels = channels_of(notice, site.config.notify)
    if not channels:
        raise ConfigurationError("notify.routes: nobody would be told of something severe in this system")
    epoch, passed, failed, canaries, specimen = _tested(site, agent, limit_s)
    trial = Trial(
        id=trial_id,
        agent=agent,
        host=host,
        machine=socket.gethostname()[:500],
        began=began,
        is_passed=passed,
        failed=failed,
        epoch=epoch,
        canaries=canaries,
        specimen=specimen,
        deliveries=_told(site, notice, channels),
        notice_sha256=hashlib.sha256(canonical.dumps(notice.canonical())).hexdigest(),
        code_sha256=code_sha256(trial_id, code),
        ended=site.clock.now(),
    )
    evidence = Evidence(kind=TRIAL_KIND, time=trial.ended, subject=system.name, facts=trial.canonical())
    return TrialRun(trial, ledger.append(evidence))


def acknowledge(
    site: Site,
    system: SystemConfig,
    trial_id: str,
    code: str,
    *,
    by: str,
    key_file: Path,
    case_id: str | None = None,
) -> Entry:
    """A person takes a trial on: with the code of the notice, and a key that is pinned under their name.

    Raises:
        UsageError: there is no such trial. RefusedError: the code is wrong, it was taken on already, or the case says
            nothing about it. IntegrityError: the key is not pinned for attestations under that name.
    """
    past = next((one for one in past_trials(site, system) if one.trial.id == trial_id), None)
    if past is None:
        raise UsageError(f"the ledger of {system.name} has no trial {trial_id}")
    if past.acknowledgement is not None:
        raise RefusedError(f"trial {trial_id} was taken on by {past.acknowledgement.by} already")
    if not secrets.compare_digest(code_sha256(trial_id, code), past.trial.code_sha256):
        raise RefusedError(f"trial {trial_id}: this is not the code of its notice")
    case = _case(site, case_id, past.trial) if case_id is not None else None
    said = Acknowledgement(trial=trial_id, entry=past.entry.digest, by=by, time=site.clock.now(), code=code, case=case)
    document = sign_document(Signer.load(key_file, Purpose.ATTESTATION), said.canonical())
    believed_of(document, past, site.trusted())  # what nobody could read back is not put on record
    evidence = Evidence(
        kind=ACKNOWLEDGED_KIND,
        time=said.time,
        subject=system.name,
        facts={"trial": trial_id, "document": _json(document)},
    )
    return open_ledger(site, system).append(evidence)


def _json(document: bytes) -> JsonValue:
    value: JsonValue = canonical.loads(document)  # type: ignore[assignment]  # what a parser of JSON gives
    return value


def _tested(
    site: Site, agent: AgentName, limit_s: float
) -> tuple[str, bool, dict[str, str], tuple[Canary, ...], Specimen | None]:
    """Epoch of the spool, whether all passed, what failed, the canaries, and an example of a finding."""
    path = agent_directory(agent, site.config) / SPOOL_NAME
    control = control_path(site.config.agent.run_dir, agent)
    if not path.exists():
        raise HostUnreachableError(f"{path}: no agent {agent} has ever run here")
    with Spool(path, site.clock, is_reader=True) as spool:
        before = spool.state().head_sequence
        ask_agent(control, {"ask": "selftest", "limit_s": limit_s})
        until = site.clock.monotonic() + limit_s + 30
        while (report := ask_agent(control, {"ask": "selftest_report"})).get("running"):
            if site.clock.monotonic() > until:
                break
            site.clock.sleep(_POLL_S)
        state = spool.state()
        first = max(0, min(before, state.head_sequence - _RECORDS_BACK_MAX))
        records = _records(spool, first)
    modules = report.get("modules")
    passages = (
        {name: one for name, one in modules.items() if isinstance(one, dict)} if isinstance(modules, dict) else {}
    )
    canaries = tuple(_canaries([record for record in records if record.sequence > before], passages))
    seen = {canary.module for canary in canaries}
    failed = {name: str(one.get("error", ""))[:500] for name, one in passages.items() if one.get("passed") is not True}
    failed |= {name: "its canary is not in the spool" for name in passages if name not in seen | set(failed)}
    is_passed = bool(passages) and report.get("passed") is True and not failed
    return state.epoch, is_passed, failed, canaries, _specimen(records) if agent == "network" else None


def _records(spool: Spool, after: int) -> list[Record]:
    """Everything behind a record. Raises ``IntegrityError`` when the spool's chain is broken."""
    found: list[Record] = []
    while page := spool.after(found[-1].sequence if found else after, _PAGE):
        found += page
    verify_chain(found)
    return found


def _canaries(records: Sequence[Record], modules: Mapping[str, object]) -> list[Canary]:
    found: dict[str, Canary] = {}
    for record in records:
        finding, module = record.body.get("finding"), record.body.get("module")
        if (
            isinstance(finding, dict)
            and finding.get("kind") == _CANARY
            and isinstance(module, str)
            and module in modules
        ):
            found[module] = Canary(module=module, sequence=record.sequence, digest=record.digest)
    return list(found.values())


def _specimen(records: Sequence[Record]) -> Specimen | None:
    """The newest finding of the network that says who did what to whom and when."""
    for record in reversed(records):
        try:
            finding = Finding.model_validate(record.body.get("finding"))
        except ValidationError:
            continue  # it tells of losses
        sides = [_first(finding.facts.get(name)) for name in ("originators", "responders")]
        if finding.kind.startswith("net.") and all(sides):
            return Specimen(
                kind=finding.kind,
                time=finding.time,
                originator=sides[0],
                responder=sides[1],
                sequence=record.sequence,
                digest=record.digest,
            )
    return None


def _first(value: JsonValue) -> str:
    return str(value[0])[:500] if isinstance(value, list) and value else ""


def _told(site: Site, notice: Notice, channels: Sequence[str]) -> tuple[Delivery, ...]:
    """The notice in the outbox, sent now, and what each channel made of it."""
    until = site.clock.monotonic() + _SENDING_S
    with open_outbox(site.config) as outbox:
        outbox.put([notice], channels[:_CHANNELS_MAX], site.clock.now())
        first = min(item.id for item in _items(outbox, notice.key))
        kept = timedelta(days=site.config.notify.kept_days)
        sender = Sender(outbox, build_channels(site.config, site.clock), site.clock, kept=kept)
        for _ in range(_SENDS_MAX):
            sender.step()
            items = _items(outbox, notice.key, after=first - 1)
            is_open = any(item.state is ItemState.WAITING and not item.error for item in items)
            if not is_open or site.clock.monotonic() >= until:
                break
            site.clock.sleep(_POLL_S)
    by_channel = {name: [item for item in items if item.channel == name] for name in dict.fromkeys(channels)}
    return tuple(_delivery(name, found) for name, found in by_channel.items() if found)


def _items(outbox: Outbox, key: str, *, after: int = 0) -> list[Item]:
    """The notice on each of its channels, among those behind an id."""
    found: dict[int, Item] = {}
    for state in ItemState:
        last = after
        while page := outbox.items(state, after=last, limit=_PAGE):
            found |= {item.id: item for item in page if item.notice.key == key}
            last = page[-1].id
    return [found[number] for number in sorted(found)]


def _delivery(channel: str, items: Sequence[Item]) -> Delivery:
    """What became of it on one channel: taken when one of its recipients and messages was, with what was not."""
    receipts = [item.receipt for item in items if item.receipt is not None]
    failed = [item.error or "not sent yet" for item in items if item.receipt is None]
    error = f"{len(failed)} of {len(items)}: {failed[0]}"[:500] if failed and len(items) > 1 else "".join(failed)[:500]
    if not receipts:
        return Delivery(channel=channel, state="failed", error=error)
    last = receipts[-1]
    return Delivery(channel=channel, state=last.state.value, time=last.time, number=last.number[:500], error=error)


def _case(site: Site, case_id: str, trial: Trial) -> CaseRef:
    """The case that came of a trial, once a person has confirmed its level."""
    from govsec.assemble.incident import build_desk, open_cases  # most acknowledgements name none

    with open_cases(site.config) as store:
        case = build_desk(site.config, store, site.clock).view(case_id).case
        head = store.head(case_id)
    if case.level is None or case.confirmed_by is None:
        raise RefusedError(f"case {case_id}: nobody has confirmed its level yet")
    if case.opened.time < trial.began:
        raise RefusedError(f"case {case_id}: was opened before trial {trial.id}, so it did not come of it")
    return CaseRef(id=case_id, head=head, level=case.level.word, confirmed_by=case.confirmed_by)
