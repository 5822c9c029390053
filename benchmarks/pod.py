"""A sweep on all devices of all hosts, such as a TPU pod slice: the same command is started on every host.

    python pod.py figure4 --scale paper --store gs://BUCKET/figure4.zarr

Hosts of a TPU slice, of Slurm and of other clusters that JAX knows find one another. Elsewhere each process is told
where the first one listens, how many there are, and which one it is:

    python pod.py figure4 --store sweep.zarr --coordinator 10.0.0.1:8476 --processes 2 --index 0
    python pod.py figure4 --store sweep.zarr --coordinator 10.0.0.1:8476 --processes 2 --index 1

With `--trial` it trains a few small networks on digits instead, to see in seconds that all of this works. Stopped by
SIGTERM, or by losing its hosts, it goes on where it was when it is started again.
"""

import argparse
import dataclasses

import jax

import jaxalign


def trial() -> jaxalign.SweepConfig:
    """Small networks on the data set that every installation has."""
    return dataclasses.replace(
        jaxalign.presets("quickstart"),
        n_train=(20, 100),
        members=3,
        training=jaxalign.Training(steps=20, batch_size=16),
        probes=50,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="quickstart")
    parser.add_argument("--scale", default="laptop")
    parser.add_argument("--store", required=True, help="a path or URL that the first process can write to")
    parser.add_argument("--trial", action="store_true", help="train a few small networks instead")
    parser.add_argument("--coordinator", help="HOST:PORT where the first process listens")
    parser.add_argument("--processes", type=int, help="how many processes there are")
    parser.add_argument("--index", type=int, help="which of them this one is, from 0")
    options = parser.parse_args()
    # Before anything else is asked of JAX.
    jax.distributed.initialize(options.coordinator, options.processes, options.index)
    config = trial() if options.trial else jaxalign.presets(options.preset, options.scale)
    dataset = jaxalign.run_sweep(config, store=options.store)
    if jax.process_index() == 0:
        print(f"{jax.device_count()} devices of {jax.process_count()} processes")
        print(jaxalign.summarize(dataset))


if __name__ == "__main__":
    main()
