"""Sweeps with a user's compiler options agree with those of the tests."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fmnist_jax import Config, sweep
from fmnist_jax.data.dataset import Data

AXES = {
    "optimizer": ["sgd", "momentum", "rmsprop", "adam"],
    "divisor": [100, 255],
    "learning_rate": [0.001, 0.01],
    "seed": [0, 1],
}
SETTINGS = {
    "num_epochs": 2,
    "hidden_sizes": (20, 10),
    "batch_size": 50,
}
SCRIPT = f"""
import sys
from fmnist_jax import Config, load, sweep, use_cpu_cores
use_cpu_cores(2)
data = load("synthetic", train_examples=200, test_examples=100)
sweep({AXES}, data, Config(**{SETTINGS})).to_netcdf(sys.argv[1], engine="h5netcdf")
"""
ROOT = Path(__file__).parents[2]
SET_BY_TESTS = ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS")


@pytest.mark.slow
def test_a_users_compiler_options_give_the_same_numbers_up_to_rounding(
    small: Data, tmp_path: Path
) -> None:
    kept = {n: value for n, value in os.environ.items() if n not in SET_BY_TESTS}
    env = {**kept, "JAX_PLATFORMS": "cpu"}
    path = tmp_path / "results.nc"
    command = [sys.executable, "-c", SCRIPT, str(path)]
    subprocess.run(command, env=env, cwd=ROOT, check=True)
    with xr.open_dataset(path, engine="h5netcdf") as users:
        here = sweep(AXES, small, Config(**SETTINGS))  # type: ignore[arg-type]
        for name in ("train_loss", "test_loss"):
            assert np.isfinite(users[name]).all()
            np.testing.assert_allclose(here[name], users[name], rtol=1e-4)
        for name in ("train_accuracy", "test_accuracy"):
            np.testing.assert_allclose(here[name], users[name], atol=0.0101)
