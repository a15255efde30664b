"""Which addresses are ours: the home networks of the site; and hosts as findings name them.

Detectors ask for whole columns at once. A site has a handful of networks; each is one comparison.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from govsec.detect.windows import U64
from govsec.net import addresses
from govsec.net.addresses import Prefix


class Networks:
    """A set of networks, as ``10.0.0.0/8`` and ``fc00::/7``.

    Raises:
        ConfigurationError: one of them is no network.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self._prefixes = [Prefix.parse(network) for network in networks]

    def contains(self, hi: U64, lo: U64) -> NDArray[np.bool_]:
        """True for each address that lies in one of them."""
        return addresses.any_holds(self._prefixes, hi, lo)


def host(hi: int, lo: int) -> str:
    """The address as text."""
    return addresses.format(hi, lo)
