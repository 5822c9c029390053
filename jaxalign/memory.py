"""How much memory was used: of a device, or on a CPU of the process."""

import sys
from pathlib import Path

import jax


def peak_bytes() -> int | None:
    """The most that was used so far, on the fullest device of this process; on a CPU, all memory of the process.

    None where the system does not say.
    """
    devices = jax.local_devices()
    if devices[0].platform != "cpu":
        peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in devices]
        return max((peak for peak in peaks if peak is not None), default=None)
    status = Path("/proc/self/status")
    if status.exists():
        # The peak that getrusage reports on Linux is that of the process which started this one, if it was higher.
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return 1024 * int(fields["VmHWM"].split()[0]) if "VmHWM" in fields else None
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
