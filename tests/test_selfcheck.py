import pytest

import jaxalign
from jaxalign.selfcheck import Check


@pytest.mark.slow
def test_all_cases_pass_and_the_table_says_so(capsys):
    checks = jaxalign.selfcheck()
    out = capsys.readouterr().out
    assert all(check.passed for check in checks) and len(checks) >= 15
    assert f"{len(checks)} of {len(checks)} passed in" in out and "FAIL" not in out
    for check in checks:
        assert check.name in out and 0 < check.tolerance < 0.1


def test_a_check_beyond_its_tolerance_fails():
    check = Check("x", 1.0, 1.2, 0.1, "")
    assert not check.passed and check._replace(tolerance=0.3).passed
    assert not check._replace(measured=float("nan")).passed
