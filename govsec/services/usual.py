"""Whether a figure is out of the usual for this hour of the week, by median and median absolute deviation.

Source: Leys et al., Journal of Experimental Social Psychology 49 (2013): the median absolute deviation times 1.4826 is
a standard deviation that a few wild values do not move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from govsec.serviceentry import UsualConfig

_DEVIATION_OF_MAD = 1.4826


@dataclass(frozen=True, slots=True)
class Span:
    """What is usual: ``middle``, and the bounds beyond which a figure is not. None: nothing is known yet."""

    middle: float | None = None
    low: float | None = None
    high: float | None = None

    def within(self, low: float | None, high: float | None) -> Span:
        """The same with fixed bounds besides: the stricter counts."""
        lows = [bound for bound in (self.low, low) if bound is not None]
        highs = [bound for bound in (self.high, high) if bound is not None]
        return Span(self.middle, max(lows, default=None), min(highs, default=None))

    def broken(self, value: float) -> float | None:
        """The bound that ``value`` lies beyond."""
        if self.high is not None and value > self.high:
            return self.high
        return self.low if self.low is not None and value < self.low else None


def span_of(values: Sequence[float], config: UsualConfig, *, floor: float = 0.0, is_two_sided: bool = False) -> Span:
    """The usual span around earlier values; ``floor``: a difference below it is never unusual."""
    if not values:
        return Span()
    middle = median(values)
    spread = config.deviations * _DEVIATION_OF_MAD * median(abs(value - middle) for value in values)
    high = max(middle * config.ratio_min, middle + spread, middle + floor)
    low = min(middle / config.ratio_min, middle - spread, middle - floor) if is_two_sided else None
    return Span(middle, low, high)
