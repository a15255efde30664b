"""``dr.recover`` of this site: a plan that drills have rehearsed, followed for real, once, by one process at a time.

What became of it lies beside the tree, ``STATE_DIR/recovered/<number>.json``, written before anybody is told; so an
order that is asked for again after a crash is not followed a second time once its users were sent to the new place.
Before that it begins anew: restoring is repeated, and the plan's commands must bear being run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from govsec import canonical
from govsec.assemble.ledger import readable_centers
from govsec.assemble.order import committed_order
from govsec.assemble.plans import find_plan
from govsec.assemble.systems import Site
from govsec.clock import format_time
from govsec.drill.centers import DrillCenter
from govsec.drill.plan import CorruptShare, Plan, RemoveShare, SwitchAddressStep
from govsec.drill.recover import Recovered, recover, take_back
from govsec.errors import ConfigurationError, IntegrityError, RefusedError, TryAgainError
from govsec.localfile import read_bounded
from govsec.lockfile import held_lock
from govsec.privatefile import make_private_directory, write_private
from govsec.repo.repository import Repository
from govsec.response.api import Outcome
from govsec.response.order import Order, open_approvals
from govsec.response.verbs import VERBS
from govsec.store.api import ReadStore

_RECORD_MAX = 1 << 20
_FOLDER = "recovered"


class RecoverActor:
    """Follows recovery plans. A recovery does not end by itself; a person takes it back."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def complete(self, arguments: Mapping[str, str | int]) -> Mapping[str, str | int]:
        """The arguments with the digest of the plan: what is approved is the plan as it stands, not its name.

        Raises:
            UsageError, ConfigurationError: there is no such system or plan, or it is wrong.
        """
        return {**arguments, "plan_digest": self._named(arguments).digest()}

    def rehearse(self, order: Order) -> Mapping[str, JsonValue]:
        plan = self._plan(order)
        if isinstance(plan.scenario, (CorruptShare, RemoveShare)):
            raise RefusedError(f"plan {plan.name}: its damage is made up for drills; nothing is recovered by it")
        switches: list[JsonValue] = [step.name for step in plan.steps if isinstance(step, SwitchAddressStep)]
        lost: list[JsonValue] = [role.value for role in sorted(plan.lost)]
        centers: list[JsonValue] = [center.name for center in self._centers(plan) if center.role not in plan.lost]
        return {"plan_digest": plan.digest(), "given_up": lost, "from_one_of": centers, "switches": switches}

    def carry_out(self, order: Order, approvals: Sequence[bytes]) -> Outcome:
        plan, base = self._plan(order), self._base()
        self._verify(order, approvals)
        with _alone(base, order):
            record = self._read(order)
            if record is None:
                record = _record(self._recover(plan, base, order.nonce))
                self._write(order, record)
        if record["problems"]:
            raise RefusedError(f"plan {plan.name}: {'; '.join(map(str, record['problems']))[:900]}")
        return self.check(order)

    def check(self, order: Order) -> Outcome:
        record = self._read(order)
        if record is None:
            raise RefusedError("nothing was recovered under this number")
        state = str(record["state"])
        facts = {name: value for name, value in record.items() if name != "state"}
        return Outcome(state, state == "done" and Path(str(record["tree"])).is_dir(), facts, None)

    def take_back(self, order: Order) -> Outcome:
        plan, base = self._plan(order), self._base()
        with _alone(base, order):
            record = self._read(order)
            if record is not None and record["state"] == "done":
                left = take_back(plan, base, order.nonce, str(record["snapshot_id"]), self._site.clock)
                self._write(order, {**record, "state": "undone", "not_undone": [*left]})
        if record is None:
            return Outcome("undone", False, {}, None)
        return self.check(order)

    def _recover(self, plan: Plan, base: Path, recovery_id: str) -> Recovered:
        site = self._site
        password = site.password(site.system(plan.system))

        def open_repository(store: ReadStore, fallbacks: Sequence[ReadStore]) -> Repository:
            return Repository.open(store, password, fallbacks=fallbacks)

        return recover(
            plan,
            self._centers(plan),
            open_repository,
            base,
            recovery_id,
            clock=site.clock,
            committed_order=lambda store: committed_order(site, store),
        )

    def _verify(self, order: Order, approvals: Sequence[bytes]) -> None:
        """No helper stands behind this verb: signatures are looked at once more, right before the deed."""
        signed, names = open_approvals(self._site.trusted(), approvals)
        if signed.digest() != order.digest() or len(names) < VERBS[order.verb].approvals_min:
            raise IntegrityError(f"{order.verb}: not approved by {VERBS[order.verb].approvals_min} persons")

    def _plan(self, order: Order) -> Plan:
        plan = self._named(order.arguments)
        if plan.digest() != order.arguments.get("plan_digest"):
            raise RefusedError(f"plan {plan.name}: was changed since it was proposed; propose it anew, or put it back")
        return plan

    def _named(self, arguments: Mapping[str, str | int]) -> Plan:
        system = self._site.system(str(arguments["system"]))
        return find_plan(self._site, str(arguments["plan"]), system.name)

    def _centers(self, plan: Plan) -> list[DrillCenter]:
        system = self._site.system(plan.system)
        return [
            DrillCenter(name, center.role, self._site.read_store(system, name), center.site)
            for name, center in readable_centers(self._site)
        ]

    def _base(self) -> Path:
        base = self._site.config.state_dir / _FOLDER
        try:
            make_private_directory(base)
        except OSError as error:
            raise ConfigurationError(f"{base}: {error.strerror}") from error
        return base

    def _read(self, order: Order) -> dict[str, Any] | None:
        path = self._base() / f"{order.nonce}.json"
        try:
            value = canonical.loads(read_bounded(path, _RECORD_MAX))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TryAgainError(f"{path}: {error.strerror}") from error
        except ValueError as error:
            raise IntegrityError(f"{path}: not what a recovery wrote") from error
        if not isinstance(value, dict):
            raise IntegrityError(f"{path}: not what a recovery wrote")
        return value

    def _write(self, order: Order, record: Mapping[str, Any]) -> None:
        path = self._base() / f"{order.nonce}.json"
        try:
            write_private(path, canonical.dumps(record))
        except OSError as error:
            raise TryAgainError(f"{path}: {error.strerror}") from error


def _alone(base: Path, order: Order) -> AbstractContextManager[None]:
    """Nobody else follows this order meanwhile. Raises ``TryAgainError`` when somebody does."""
    path = base / f"{order.nonce}.lock"
    busy = f"{path}: another process follows this order now"
    return held_lock(path, busy=busy, busy_error=TryAgainError, file_error=TryAgainError)


def _record(done: Recovered) -> dict[str, Any]:
    said = asdict(done) | {"tree": str(done.tree), "snapshot_time": format_time(done.snapshot_time)}
    said["steps"] = [f"{name}: {outcome}" for name, outcome in done.steps]
    return {**said, "problems": [*done.problems], "state": "failed" if done.problems else "done"}
