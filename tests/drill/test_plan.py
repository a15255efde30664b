from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from govsec.drill.plan import Plan, load_plan
from govsec.errors import ConfigurationError

PROBE = {"kind": "probe", "name": "content", "timeout_s": 60, "probe": {"kind": "content"}}
RESTORE = {"kind": "restore", "name": "restore", "timeout_s": 60}
SWITCH = {"kind": "switch_address", "name": "dns", "timeout_s": 5, "argv": ["x"], "undo": {"argv": ["y"]}}


def plan(**changes: Any) -> dict[str, Any]:
    value = {
        "name": "p",
        "system": "oa",
        "scenario": {"kind": "lose_production"},
        "expect": {"paths": ["/srv/oa"]},
        "steps": [RESTORE, PROBE],
    }
    return {key: item for key, item in (value | changes).items() if item is not None}


def load(tmp_path: Path, value: object) -> Plan:
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    return load_plan(path)


def test_a_plan_in_yaml_is_read_and_named_by_its_digest(tmp_path: Path) -> None:
    first = load(tmp_path, plan())
    again = load(tmp_path, dict(reversed(plan().items())))
    other = load(tmp_path, plan(title="changed"))

    assert first == again
    assert first.digest() == again.digest() != other.digest()


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": (plan(surprise=1), "surprise"),
    "unknown scenario": (plan(scenario={"kind": "meteor"}), "scenario"),
    "no probe": (plan(steps=[RESTORE, {"kind": "start", "name": "s", "timeout_s": 1, "argv": ["x"]}]), "no probe"),
    "no expected path": (plan(expect={"paths": []}), "expect.paths"),
    "no expectation": (plan(expect=None), "expect"),
    "restore is not first": (plan(steps=[PROBE, RESTORE]), "first step"),
    "two restores": (plan(steps=[RESTORE, RESTORE | {"name": "again"}, PROBE]), "restore"),
    "no restore": (plan(steps=[PROBE, PROBE | {"name": "again"}]), "first step"),
    "same name twice": (plan(steps=[RESTORE, PROBE, PROBE]), "same name"),
    "restores from what it loses": (plan(center="production"), "loses"),
    "restores from elsewhere than it damages": (
        plan(scenario={"kind": "corrupt_share", "center": "remote", "fraction": 0.5, "seed": 1}, center="same_city"),
        "damages",
    ),
    "step without a limit": (plan(steps=[{"kind": "restore", "name": "restore"}, PROBE]), "timeout_s"),
    "path out of the tree": (plan(expect={"paths": ["/srv/../../etc"]}), "inside"),
    "configuration out of the tree": (
        plan(
            steps=[
                RESTORE,
                PROBE,
                {"kind": "configure", "name": "c", "timeout_s": 1, "files": [{"path": "../x", "content": ""}]},
            ]
        ),
        "inside",
    ),
    "content after the service was started": (
        plan(steps=[RESTORE, {"kind": "start", "name": "s", "timeout_s": 1, "argv": ["x"]}, PROBE]),
        "before any step",
    ),
    "switch without undo": (plan(steps=[RESTORE, PROBE, {k: v for k, v in SWITCH.items() if k != "undo"}]), "undo"),
    "time without a zone": (plan(scenario={"kind": "rollback_before", "time": "2026-01-01T00:00:00"}), "time"),
    "sqlite probe that expects nothing": (
        plan(
            steps=[
                RESTORE,
                {
                    "kind": "probe",
                    "name": "q",
                    "timeout_s": 1,
                    "probe": {"kind": "sqlite", "path": "x.db", "query": "SELECT 1"},
                },
            ]
        ),
        "expect or minimum",
    ),
    "network": (plan(isolation={"network": "host"}), "network"),
    "data backup attested": (
        plan(
            attestations=[
                {
                    "element": "data_backup",
                    "level": 6,
                    "by": "me",
                    "reference": "trust me",
                    "valid_until": "2030-01-01T00:00:00Z",
                }
            ]
        ),
        "measured",
    ),
    "number without a canonical form": (
        plan(
            steps=[
                RESTORE,
                {
                    "kind": "probe",
                    "name": "q",
                    "timeout_s": 1,
                    "probe": {"kind": "sqlite", "path": "x.db", "query": "SELECT 1", "minimum": 1e-9},
                },
            ]
        ),
        "canonical",
    ),
    "not a mapping": ([], "plan"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("case", BAD)
def test_a_plan_that_cannot_fail_or_is_unsafe_is_refused_with_what_is_wrong(case: str, tmp_path: Path) -> None:
    value, words = BAD[case]

    with pytest.raises(ConfigurationError, match=words) as caught:
        load(tmp_path, value)

    assert str(tmp_path / "plan.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plan_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yaml"):
        load_plan(tmp_path / "absent.yaml")
