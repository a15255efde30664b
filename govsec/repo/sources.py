"""Several stores that hold the same objects, asked in turn until one gives what was asked for, whole.

One idea: what an object must be is known from its name, so any store's answer can be judged, and the next one asked
when it is missing, damaged or late. A store that did not answer is asked last from then on, so that a center that hangs
costs its time-out once and not for every object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from govsec.errors import GovsecError, IntegrityError, ObjectNotFoundError, StoreDeniedError, StoreUnavailableError
from govsec.store.api import ReadStore

T = TypeVar("T")
#: What makes it worth to ask the next store.
_WORTH_ASKING_ON = (ObjectNotFoundError, IntegrityError, StoreDeniedError, StoreUnavailableError)


class Sources:
    """The stores, best first. Not for two threads at once."""

    def __init__(self, stores: Sequence[ReadStore]) -> None:
        #: The stores as they were given.
        self.stores = tuple(stores)
        #: The order in which they are asked now.
        self._order = list(range(len(self.stores)))
        #: How often the first answer was not good enough and a later one was.
        self.fallback_count = 0

    def clone(self) -> Sources:
        """The same stores with connections of their own, asked in the same order."""
        other = Sources([store.clone() for store in self.stores])
        other._order = list(self._order)
        return other

    def first_good(self, ask: Callable[[ReadStore], T]) -> T:
        """What ``ask`` gives for the first store for which it does not raise.

        Raises:
            IntegrityError, StoreUnavailableError, StoreDeniedError, ObjectNotFoundError: no store was good; of what
                they met the worst is told, in this order.
        """
        failure: GovsecError | None = None
        for position in tuple(self._order):
            try:
                result = ask(self.stores[position])
            except _WORTH_ASKING_ON as error:
                failure = error if failure is None else min(failure, error, key=_gravity)
                if isinstance(error, StoreUnavailableError):
                    self._order.remove(position)
                    self._order.append(position)
                continue
            if failure is not None:
                self.fallback_count += 1
            return result
        assert failure is not None  # there is at least one store, so something failed
        raise failure

    def every(self, ask: Callable[[ReadStore], T]) -> list[T]:
        """What ``ask`` gives for each store that answers. Raises as :meth:`first_good` when none does."""
        answers: list[T] = []
        failure: GovsecError | None = None
        for store in self.stores:
            try:
                answers.append(ask(store))
            except _WORTH_ASKING_ON as error:
                failure = error if failure is None else min(failure, error, key=_gravity)
        if failure is not None and not answers:
            raise failure
        return answers

    def get(self, name: str, size_max: int, check: Callable[[bytes], T]) -> T:
        """What ``check`` makes of the object's bytes, from the first store whose bytes it does not refuse."""
        return self.first_good(lambda store: check(store.get(name, size_max=size_max)))

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """A part of an object, unchecked."""
        return self.first_good(lambda store: store.get(name, offset=offset, length=length, size_max=length))


def _gravity(error: GovsecError) -> int:
    # Damage before silence, silence before absence: the message must not say "missing" of what nobody could look at.
    order = (IntegrityError, StoreUnavailableError, StoreDeniedError, ObjectNotFoundError)
    return next(rank for rank, kind in enumerate(order) if isinstance(error, kind))
