from __future__ import annotations

import pytest

from govsec.register.levels import WrittenLevel, read_level


@pytest.mark.parametrize("text", ["3", "第三级", "三级", "三", "等保三级", " L3 ", "level 3", "3级"])
def test_a_level_is_read_as_people_write_it(text: str) -> None:
    assert read_level(text) == WrittenLevel(3)


@pytest.mark.parametrize("text", ["S3A1G3", "s3a1", "第三级（S3A1）", "三级(S3A1G3)"])
def test_s_and_a_are_taken_with_it(text: str) -> None:
    assert read_level(text) == WrittenLevel(3, 3, 1)


@pytest.mark.parametrize(
    "text", ["", "6", "0", "第六级", "三四级", "S3", "S6A1", "S2A1G3", "第二级（S3A1）", "33", "三级 三级"]
)
def test_what_is_no_level_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="level"):
        read_level(text)
