"""Many samples on a Dask cluster
==============================

Two workers of a cluster that is started on this machine draw the same digits as this process alone,
to the bit. On a cluster of yours take its address: ``Client("tcp://scheduler:8786")``.

    python examples/dask_cluster.py
"""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
from distributed import Client, LocalCluster

import schedulers
from schedulers.generation import generate, verify
from schedulers.onnx import OnnxDenoiser

here = Path(__file__).parent if "__file__" in globals() else Path()
N = 2000


def classes(seeds):
    """Return the class of each seed, as the network takes it."""
    return {"label": seeds % 10}


def digest(samples):
    """Return a hash of the samples."""
    return hashlib.sha256(np.ascontiguousarray(samples[:]).tobytes()).hexdigest()[:16]


def main():
    schedule = schedulers.DiscreteSchedule(schedulers.linear_betas(1000))
    scheduler = schedulers.DPMSolverPP(schedule)
    network = OnnxDenoiser(here / "digits.onnx", label=10)
    run = scheduler, network, (1, 8, 8), range(N), 10
    more = {"batch_size": 250, "conditions": classes}
    alone = digest(generate(*run, **more))
    print(f"{N} digits by this process: {alone}")
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.upload_file(str(here / "dask_cluster.py"))  # for its function `classes`
        out = f"{folder}/samples.zarr"
        found = digest(generate(*run, **more, out=out, executor=client.get_executor()))
        print(f"{N} digits by two workers of a cluster: {found}")
        print(f"batches made again, and the same: {verify(*run, **more, out=out)}")
    assert found == alone


if __name__ == "__main__":
    main()
