"""Trains the configurations of the sources, each once, and keeps what they gave."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from experiments.sources.rows import Training, probes
from fmnist_jax.config import UserError
from fmnist_jax.results import replaced

if TYPE_CHECKING:
    from fmnist_jax.data import Data


def _kept(folder: Path, name: str) -> list[xr.Dataset]:
    """Returns what a folder holds of a configuration: a file for some seeds each."""
    datasets = []
    for path in sorted(folder.glob(f"{name}.seeds*.nc")):
        try:
            with xr.open_dataset(path, engine="h5netcdf") as dataset:
                datasets.append(dataset.load())
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path} cannot be read ({error}); delete it to train it anew."
            ) from error
    return datasets


def _check(dataset: xr.Dataset, name: str, epochs: int, data: "Data") -> None:
    found = dataset.sizes["epoch"], dataset.attrs["dataset_fingerprint"]
    if found != (epochs, data.fingerprint):
        raise UserError(
            f"What is kept of {name} came from other data or another number of epochs "
            f"({found[0]}, now {epochs}); choose another --out_dir."
        )


def measure(
    name: str,
    training: Training,
    num_seeds: int,
    data: "Data",
    folder: Path,
    epochs: int | None = None,
) -> xr.Dataset:
    """Returns a configuration's runs of the first seeds; trains those not yet kept.

    Args:
      name: of the configuration, and of its files.
      training: the configuration.
      num_seeds: how many.
      data: to train on.
      folder: where results are kept.
      epochs: at most so many, for a quick look.

    Raises:
      UserError: where a file cannot be read, or came from other data or epochs.
    """
    config, hparams = training.resolved()
    config = dataclasses.replace(
        config,
        num_epochs=min(epochs or config.num_epochs, config.num_epochs),
        batch_size=min(config.batch_size, len(data.train.labels)),
    )
    datasets = _kept(folder, name)
    for dataset in datasets:
        _check(dataset, name, config.num_epochs, data)
    done = {int(seed) for dataset in datasets for seed in dataset.seed}
    missing = [seed for seed in range(num_seeds) if seed not in done]
    if missing:
        from fmnist_jax.sweeping import sweep

        new = sweep({"seed": missing}, data, config, hparams, probes(training))
        path = folder / f"{name}.seeds{missing[0]}-{missing[-1]}.nc"
        with replaced(path) as written:
            new.to_netcdf(written, engine="h5netcdf")
        datasets.append(new)
    return xr.concat(datasets, "seed").sortby("seed").sel(seed=range(num_seeds))


def spectrum(data: "Data") -> xr.Dataset:
    """Returns the eigenvalues of the mean of ``x xᵀ`` over the training images.

    Pixels in 0…1, float64, ascending.
    """
    x = np.reshape(data.train.images, (len(data.train.images), -1)) / 255
    return xr.Dataset({"eigenvalue": ("rank", np.linalg.eigvalsh(x.T @ x / len(x)))})


def dropout_scaling(num_seeds: int, rate: float = 0.25) -> xr.Dataset:
    """Returns by seed what dropout multiplies activations of 1 by, on average."""
    import jax
    import jax.numpy as jnp

    from fmnist_jax.models import dropout

    ones = jnp.ones((1000, 1000))
    dropped = [dropout(jax.random.key(seed), rate, ones) for seed in range(num_seeds)]
    kept = [float(jnp.mean(values[values != 0])) for values in dropped]
    ratios = [float(jnp.mean(values)) for values in dropped]
    return xr.Dataset({"ratio": ("seed", ratios), "kept": ("seed", kept)})
