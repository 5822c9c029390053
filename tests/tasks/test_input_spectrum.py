import numpy as np
import pytest

from jaxalign.tasks import LinearTeacher, PowerLaw


@pytest.mark.parametrize("exponent", [0, 0.5, 1.2, 3.0])
def test_a_power_law_has_trace_dim(exponent):
    values = LinearTeacher(300, spectrum=PowerLaw(exponent)).eigenvalues
    assert values.shape == (300,) and values.dtype == np.float64
    np.testing.assert_allclose(values.sum(), 300)
    np.testing.assert_allclose(values / values[0], np.arange(1, 301.0) ** -exponent)


def test_explicit_eigenvalues_are_taken_as_they_are():
    np.testing.assert_array_equal(LinearTeacher(3, spectrum=(0.5, 7, 0.5)).eigenvalues, [0.5, 7, 0.5])


@pytest.mark.parametrize("exponent", [-1, np.nan, np.inf, "1", None])
def test_bad_exponents(exponent):
    with pytest.raises(ValueError, match="exponent must be a finite number of at least 0, got"):
        PowerLaw(exponent)
