"""What every study must have."""

from __future__ import annotations

import pytest

from companion import records, study

STUDIES = [study.load(name) for name in study.names()]
each = pytest.mark.parametrize("one", STUDIES, ids=lambda one: one.name)


@each
def test_every_stage_of_the_plan_has_words(one: study.Study) -> None:
    assert set(one.stages) == {cell.stage for cell in one.plan("paper")}


@each
@pytest.mark.parametrize("scale", ["quick", "paper"])
def test_every_cell_has_an_address_of_its_own_and_a_function(one: study.Study, scale: str) -> None:
    cells = one.plan(scale)
    records.check_addresses(cells)
    assert {cell.study for cell in cells} == {one.name}
    assert all(callable(cell.function) for cell in cells)


@each
def test_an_unknown_scale_is_refused(one: study.Study) -> None:
    with pytest.raises(ValueError, match="scale='huge' is unknown; choose 'quick' or 'paper'"):
        one.results("huge")


@each
def test_the_committed_record_decides_every_claim(one: study.Study) -> None:
    for rows in one.judge().values():
        assert [row.id for row in rows] == [claim.id for claim in one.claims]
        assert all(row.why and row.rule and row.published for row in rows)
        assert all((row.n and row.value) or row.verdict == "not testable" for row in rows)
