import subprocess
import sys

import numpy as np
import pytest

from jaxalign.memory import peak_bytes


def test_the_peak_remembers_what_was_freed():
    before = peak_bytes()
    if before is None:
        pytest.skip("the system does not say")
    np.ones(before // 8 + 10**7)
    assert peak_bytes() > before + 5 * 10**7


def test_a_process_does_not_have_the_peak_of_the_one_that_started_it():
    np.ones(10**8)
    code = "from jaxalign.memory import peak_bytes; print(peak_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 10**7 < int(done.stdout) < 7 * 10**8
