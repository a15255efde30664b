"""A connection to the first address of a name that takes one, as browsers do it; each is checked where it is used."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from govsec.errors import RefusedError
from govsec.web.addresses import Address, Names
from govsec.web.connection import Deadline, RequestError, connect

#: Names have a few addresses; whoever answers at none of so many is down.
_TRIED_MAX = 4


def reach(
    names: Names,
    addresses: Sequence[Address],
    port: int,
    deadline: Deadline,
    note: Callable[[Address], None] = lambda _: None,
) -> socket.socket:
    """A connected socket; whoever gets it closes it. ``note`` is told of each address before it is tried.

    Raises:
        RequestError: an address may not be asked, or nobody answers at any.
    """
    last = RequestError("connect", "no address was tried")
    for address in addresses[:_TRIED_MAX]:
        note(address)
        try:
            names.check(address)
        except RefusedError as error:
            raise RequestError("connect", f"refused: {error}") from error
        try:
            return connect(address, port, deadline)
        except RequestError as error:
            last = error
    raise last
