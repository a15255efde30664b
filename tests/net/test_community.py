"""Community ids against the vectors that the specification publishes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from govsec.net import addresses
from govsec.net.columns import FLOW
from govsec.net.community import community_ids

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "community_id.json").read_text())["rows"]


@pytest.mark.parametrize(("seed", "column"), [(0, 5), (1, 6)])
def test_all_flows_at_once_have_the_published_ids(seed: int, column: int) -> None:
    flows = np.zeros(len(VECTORS), FLOW)
    for flow, (protocol, source, target, source_port, target_port, *_) in zip(flows, VECTORS, strict=True):
        flow["originator_hi"], flow["originator_lo"] = addresses.parse(source)
        flow["responder_hi"], flow["responder_lo"] = addresses.parse(target)
        flow["originator_port"], flow["responder_port"] = source_port, target_port
        flow["protocol"], flow["ip_version"] = protocol, 6 if ":" in source else 4

    assert community_ids(flows, seed) == [row[column] for row in VECTORS]
    assert len(VECTORS) > 20
