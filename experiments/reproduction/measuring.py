"""Trains the configurations of the sources, each once, and keeps what they gave."""

import dataclasses
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import xarray as xr

from experiments.reproduction.rows import TINY, Training, probes
from fmnist_jax.analysis.results import save_netcdf
from fmnist_jax.config import (
    PRESETS,
    Config,
    Hparams,
    coordinate,
    resolve,
    uses_setting,
)
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError, reason
from fmnist_jax.files import explaining_write_errors
from fmnist_jax.sweeps.engine import sweep
from fmnist_jax.training.loop import run_keys
from fmnist_jax.training.models import dropout
from fmnist_jax.training.step import init

DIVISORS = (1.0, 255.0, 1000.0, TINY)
TIMED, REPEATS = (1.0, 255.0), 5


def _kept(folder: Path, name: str) -> list[xr.Dataset]:
    """Returns what a folder holds of a configuration: a file for some seeds each."""
    return [_read(path) for path in sorted(folder.glob(f"{name}.seeds*.nc"))]


def _read(path: Path) -> xr.Dataset:
    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            return dataset.load()
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} cannot be read ({reason(error)}); delete it to measure it anew."
        ) from error


def _check(
    dataset: xr.Dataset, name: str, config: Config, hparams: Hparams, data: Data
) -> None:
    """Refuses what is kept where it came from other data or other settings."""
    if dataset.attrs["dataset_fingerprint"] != data.fingerprint:
        raise UserError(
            f"What is kept of {name} came from other data; choose another --out_dir."
        )
    settings = vars(config) | vars(resolve(config, hparams))
    for setting, value in settings.items():
        if value is None or setting == "name" or not uses_setting(config, setting):
            continue
        found = dataset.coords[setting].item() if setting in dataset.coords else None
        expected = coordinate(setting, value)
        if found != (str(expected) if isinstance(expected, bool) else expected):
            raise UserError(
                f"What is kept of {name} was trained with {setting} {found}, now "
                f"{expected}; choose another --out_dir."
            )


def measure(
    name: str,
    training: Training,
    num_seeds: int,
    data: Data,
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
      UserError: where a file cannot be read or written, or came from other data or
        epochs.
    """
    config, hparams = training.resolved()
    config = dataclasses.replace(
        config,
        num_epochs=min(epochs or config.num_epochs, config.num_epochs),
        batch_size=min(config.batch_size, len(data.train.labels)),
    )
    datasets = _kept(folder, name)
    for dataset in datasets:
        _check(dataset, name, config, hparams, data)
    done = {int(seed) for dataset in datasets for seed in dataset.seed}
    missing = [seed for seed in range(num_seeds) if seed not in done]
    if missing:
        new = sweep({"seed": missing}, data, config, hparams, probes(training))
        with explaining_write_errors(folder):
            save_netcdf(new, folder / f"{name}.seeds{missing[0]}-{missing[-1]}.nc")
        datasets.append(new)
    return xr.concat(datasets, "seed").sortby("seed").sel(seed=range(num_seeds))


def curvature(data: Data, units: int = 4, examples: int = 2000) -> xr.Dataset:
    """Returns the spectrum of the loss's curvature for hidden units, by divisor.

    Of the keras preset's network at initialisation: for one unit's incoming weights and
    bias the Hessian of the mean cross-entropy is the mean over images of
    ``c 1[z > 0] x xᵀ`` with x = (pixels / divisor, 1), z the unit's input and c the
    variance, under the softmax outputs, of the unit's outgoing weights: exactly, as a
    ReLU bends nowhere but at 0. Float64; eigenvalues ascending.
    """
    config, hparams = PRESETS["keras"]
    key, *_ = run_keys(0)
    state = init(config, hparams, key, data.image_shape, data.num_classes)
    params = jax.tree.map(lambda p: np.asarray(p, float), state.params)
    first, second = params["Dense_0"], params["Dense_1"]
    images = np.reshape(data.train.images[:examples], (-1, len(first["kernel"])))
    spectra = []
    for divisor in DIVISORS:
        x = np.hstack([images / divisor, np.ones((len(images), 1))])
        z = x @ np.vstack([first["kernel"], first["bias"]])
        logits = np.maximum(z, 0) @ second["kernel"] + second["bias"]
        p = scipy.special.softmax(logits, axis=1)
        for unit in range(units):
            outgoing = second["kernel"][unit]
            variance = p @ outgoing**2 - (p @ outgoing) ** 2
            weights = variance * (z[:, unit] > 0) / len(x)
            spectra.append(np.linalg.eigvalsh((x.T * weights) @ x))
    shape = (len(DIVISORS), units, -1)
    found = (("divisor", "unit", "rank"), np.reshape(spectra, shape))
    return xr.Dataset({"eigenvalue": found}, {"divisor": list(DIVISORS)})


def epoch_seconds(data: Data, folder: Path) -> xr.Dataset:
    """Returns the seconds of an epoch of the book's network, scaled and not, in turns.

    They are kept like runs, so that a page can be written again.
    """
    path = folder / "epoch-seconds.nc"
    if path.exists():
        return _read(path)
    config, hparams = PRESETS["book"]
    config = dataclasses.replace(config, num_epochs=1, evaluate_train=False)
    seconds = np.empty((2, REPEATS))
    for repeat in range(-1, REPEATS):  # the first time it is compiled
        for at, divisor in enumerate(TIMED):
            start = time.perf_counter()
            sweep({"divisor": [divisor]}, data, config, hparams)
            seconds[at, repeat] = time.perf_counter() - start
    found = xr.Dataset(
        {"seconds": (("divisor", "repeat"), seconds)}, {"divisor": list(TIMED)}
    )
    with explaining_write_errors(folder):
        save_netcdf(found, path)
    return found


def dropout_scaling(num_seeds: int, rate: float = 0.25) -> xr.Dataset:
    """Returns what dropout makes of activations of 1, by seed: on average, and kept."""
    ones = jnp.ones((1000, 1000))
    dropped = [dropout(jax.random.key(seed), rate, ones) for seed in range(num_seeds)]
    kept = [float(jnp.max(values)) for values in dropped]
    ratios = [float(jnp.mean(values)) for values in dropped]
    return xr.Dataset({"ratio": ("seed", ratios), "kept": ("seed", kept)})
