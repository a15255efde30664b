"""The plans in the guides are plans: they load as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from govsec.drill.plan import Attestation, Plan

GUIDES = Path(__file__).parents[2] / "docs" / "guides"


@pytest.mark.parametrize("name", ["drills.md", "drills.zh-CN.md"])
def test_every_yaml_block_of_a_guide_is_read_by_the_models(name: str) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (GUIDES / name).read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    value = {key: item for block in blocks for key, item in yaml.safe_load(block).items()}

    plan = Plan.model_validate(value)

    assert plan.name == "lose-the-city"
    assert plan.select.paths == ("/srv/office",)
    assert isinstance(plan.attestations[0], Attestation)


def test_both_guides_show_the_same_plan_and_the_same_commands() -> None:
    def blocks(name: str) -> list[str]:
        found = re.findall(r"```(?:yaml|sh)\n(.*?)```", (GUIDES / name).read_text(encoding="utf-8"), re.DOTALL)
        # Comments and the words for people are translated.
        bare = [re.sub(r"(#.*|title: .*|by: .*| --lang en)", "", block) for block in found]
        return ["\n".join(line.rstrip() for line in block.splitlines()) for block in bare]

    assert blocks("drills.md") == blocks("drills.zh-CN.md")
