"""The list of planted faults keeps up with the code: each of their lines is still there."""

import pytest
from planted_faults import FAULTS, ROOT


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{name}: {after}" for name, _, after, _ in FAULTS])
def test_a_planted_fault_has_its_line_and_its_tests(fault):
    name, before, after, tests = fault
    assert before in (ROOT / "ltad" / name).read_text(encoding="utf-8") and before != after
    assert all((ROOT / "tests" / one).exists() for one in tests.split())
