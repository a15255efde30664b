"""Which center a drill restores from, and what the scenario does to the others.

Every center is read through the scenario's wrapper, also those that are lost: choosing goes through the very failure
that a real disaster would bring. Fallbacks to other centers are used only where the scenario damages one center: in
the other scenarios a center has to give everything by itself, or the drill would prove the wrong place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from govsec.config import Role
from govsec.drill.losses import Damage, DamagedStore, LostStore
from govsec.drill.plan import CorruptShare, Plan, RemoveShare, RollbackBefore
from govsec.drill.result import CenterRef
from govsec.errors import StoreError, StoreUnavailableError
from govsec.repo.repository import Repository
from govsec.store.api import ReadStore

#: Opens a repository in a store, with other stores to fall back to.
OpenRepository = Callable[[ReadStore, Sequence[ReadStore]], Repository]
_ORDER = (Role.PRODUCTION, Role.SAME_CITY, Role.REMOTE)


@dataclass(frozen=True, slots=True)
class DrillCenter:
    """A center as the drill may read it."""

    name: str
    role: Role
    store: ReadStore
    site: str = ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The center that the data come from, opened."""

    center: DrillCenter
    repository: Repository
    damaged: DamagedStore | None
    #: The chosen center's store, then those that may stand in for it.
    stores: tuple[ReadStore, ...]


class CenterChoice:
    """The centers of one drill under its scenario."""

    def __init__(self, plan: Plan, centers: Sequence[DrillCenter]) -> None:
        self._plan = plan
        self._centers = {center.role: center for center in centers}
        self._stores: dict[Role, ReadStore] = {center.role: self._wrapped(center) for center in centers}
        #: Centers that could not be opened though the scenario leaves them standing, and why.
        self.failures: dict[Role, str] = {}
        self._used: Role | None = None

    def choose(self, open_repository: OpenRepository) -> Chosen:
        """Open the first center that survives; the plan's own choice when it names one.

        Raises:
            StoreUnavailableError: none can be opened; the message says why for each.
        """
        lost = []
        for role in self._candidates():
            fallbacks = [self._stores[other] for other in self._fallback_roles(role)]
            try:
                repository = open_repository(self._stores[role], fallbacks)
            except StoreError as error:
                if role in self._plan.lost:
                    lost.append(str(error))
                else:
                    self.failures[role] = str(error)
                continue
            self._used = role
            store = self._stores[role]
            damaged = store if isinstance(store, DamagedStore) else None
            return Chosen(self._centers[role], repository, damaged, (store, *fallbacks))
        why = "; ".join([*lost, *self.failures.values()])
        raise StoreUnavailableError(why or "the configuration has no center that the plan could use")

    def references(self) -> tuple[CenterRef, ...]:
        """Every center and what became of it."""
        return tuple(
            CenterRef.model_validate(
                {
                    "name": self._centers[role].name,
                    "role": role.value,
                    "site": self._centers[role].site,
                    "state": self._state(role),
                }
            )
            for role in _ORDER
            if role in self._centers
        )

    def _candidates(self) -> list[Role]:
        scenario = self._plan.scenario
        if self._plan.center is not None:
            wanted = [self._plan.center]
        elif isinstance(scenario, (CorruptShare, RemoveShare)):
            wanted = [scenario.center]
        elif isinstance(scenario, RollbackBefore):
            # What has attacked production reaches the remote center last.
            wanted = list(reversed(_ORDER))
        else:
            wanted = list(_ORDER)
        return [role for role in wanted if role in self._centers]

    def _fallback_roles(self, role: Role) -> list[Role]:
        if not isinstance(self._plan.scenario, (CorruptShare, RemoveShare)):
            return []
        return [other for other in _ORDER if other in self._centers and other is not role]

    def _wrapped(self, center: DrillCenter) -> ReadStore:
        scenario = self._plan.scenario
        if center.role in self._plan.lost:
            return LostStore(center.name)
        if isinstance(scenario, (CorruptShare, RemoveShare)) and scenario.center is center.role:
            damage = Damage.FLIPPED if isinstance(scenario, CorruptShare) else Damage.REMOVED
            return DamagedStore(
                center.store, damage, fraction=scenario.fraction, seed=scenario.seed, prefix=scenario.prefix
            )
        return center.store

    def _state(self, role: Role) -> str:
        if role in self._plan.lost:
            return "lost"
        if isinstance(self._stores[role], DamagedStore):
            return "damaged"
        if role is self._used:
            return "restored_from"
        if role in self.failures:
            return "not_reached"
        used_fallbacks = self._fallback_roles(self._used) if self._used is not None else []
        return "fallback" if role in used_fallbacks else "not_used"
