"""A table of bounded size for what a detector remembers by key: the key that was longest not asked for goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At most ``size_max`` values, made by ``make`` when a key is new; ``forgotten_count`` says how many had to go."""

    def __init__(self, size_max: int, make: Callable[[], V]) -> None:
        self._size_max = size_max
        self._make = make
        self._values: OrderedDict[K, V] = OrderedDict()
        self.forgotten_count = 0

    def __len__(self) -> int:
        return len(self._values)

    def at(self, key: K) -> V:
        """The value of ``key``, which is now the one asked for last."""
        value = self._values.get(key)
        if value is None:
            value = self._values[key] = self._make()
            if len(self._values) > self._size_max:
                self._values.popitem(last=False)
                self.forgotten_count += 1
        self._values.move_to_end(key)
        return value

    def get(self, key: K) -> V | None:
        """The value of ``key``, when there is one."""
        return self._values.get(key)
