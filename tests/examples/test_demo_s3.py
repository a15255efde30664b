"""``make demo-s3`` on three real servers."""

from __future__ import annotations

import pytest

from tests.support import demo_s3


@pytest.mark.soak
def test_the_thief_erases_nothing_and_the_drill_passes() -> None:
    assert demo_s3.main() == 0
