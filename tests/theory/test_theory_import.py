import subprocess
import sys

SCRIPT = """
import jaxalign.theory
from jax._src import xla_bridge
assert not xla_bridge._backends
assert not [m for m in __import__("sys").modules if m.startswith(("jaxalign.ensemble", "jaxalign.sweep"))]
"""


def test_import_initializes_no_device():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
