"""Trains the configurations of the sources, and saves or reads their results."""

import collections
import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import xarray as xr

from experiments.reproduction.configurations import CONFIGURATIONS, TINY_INPUTS
from experiments.reproduction.findings import MACHINE, machine_of
from fmnist_jax import data as data_sets
from fmnist_jax.analysis.results import load as read_results
from fmnist_jax.analysis.results import save_netcdf
from fmnist_jax.config import PRESETS, Config, Hparams, coordinate, resolve
from fmnist_jax.data.dataset import Data
from fmnist_jax.effects import settings_by_name, uses_setting
from fmnist_jax.errors import UserError
from fmnist_jax.files import explaining_write_errors
from fmnist_jax.networks.layers import dropout
from fmnist_jax.probes import health, histograms
from fmnist_jax.probes.probe import Probe
from fmnist_jax.sweeps.sweep import sweep
from fmnist_jax.training.loop import run_keys
from fmnist_jax.training.step import init
from fmnist_jax.values import SUBSETS

DIVISORS = (1.0, 255.0, 1000.0, TINY_INPUTS)
TIMED, REPEATS = (1.0, 255.0), 5


def make_measure(
    options: Mapping[str, Any], names: Iterable[str]
) -> Callable[[str], xr.Dataset]:
    """Returns a function that measures by name, under the flags of a command line.

    The data sets of ``names`` are loaded now, to report a missing one before training.
    """
    folder, num_seeds = Path(options["out_dir"]), options["num_seeds"]

    @functools.cache
    def load(name: str) -> Data:
        return data_sets.load(
            options["dataset"] or name,
            options["data_dir"],
            train_examples=options["train_examples"],
            test_examples=options["test_examples"],
            subset=options["subset"] or SUBSETS[0],
        )

    def measure(name: str) -> xr.Dataset:
        if name == "curvature":
            return curvature(load("fashion_mnist"))
        if name == "epoch-seconds":
            return epoch_seconds(load("fashion_mnist"), folder)
        if name == "scaling":
            return dropout_scaling(num_seeds)
        data = load(CONFIGURATIONS[name].dataset)
        return train(name, num_seeds, data, folder, options["epochs"])

    for name in names:
        if name in CONFIGURATIONS:
            load(CONFIGURATIONS[name].dataset)
    return measure


def train(
    name: str, num_seeds: int, data: Data, folder: Path, epochs: int | None = None
) -> xr.Dataset:
    """Returns a configuration's runs of the first seeds; trains the missing ones.

    The folder has a file for the seeds that were trained together. ``epochs`` limits
    the number of epochs.
    """
    config, hparams = CONFIGURATIONS[name].resolved()
    config = dataclasses.replace(
        config,
        num_epochs=min(epochs or config.num_epochs, config.num_epochs),
        batch_size=min(config.batch_size, len(data.train.labels)),
    )
    results = [read_results(path) for path in sorted(folder.glob(f"{name}.seeds*.nc"))]
    for saved in results:
        _check(saved, name, config, hparams, data)
    trained = collections.Counter(int(s) for saved in results for s in saved.seed)
    for seed, count in trained.items():
        if count > 1:
            raise UserError(
                f"{count} files in {folder} hold seed {seed} of {name}; keep one."
            )
    missing = [seed for seed in range(num_seeds) if seed not in trained]
    if missing:
        probes = (
            histograms.parameter_probe([config]),
            histograms.hidden_probe(),
            histograms.predictions_probe(),
            Probe(health.saturation),
        )
        new = sweep({"seed": missing}, data, config, hparams, probes)
        path = folder / f"{name}.seeds{missing[0]}-{missing[-1]}.nc"
        results.append(_save(new, path))
    machines = dict.fromkeys(map(machine_of, results))
    known = set.intersection(*(set(part.coords) for part in results))
    parts = [part.drop_vars(part.coords.keys() - known) for part in results]
    merged = xr.concat(parts, "seed", combine_attrs="override").sortby("seed")
    merged.attrs[MACHINE] = " and ".join(machines)
    return merged.sel(seed=range(num_seeds))


def _save(results: xr.Dataset, path: Path) -> xr.Dataset:
    """Returns results with the machine that computed them; saves them."""
    machine = f"{jax.devices()[0].device_kind} with jax {jax.__version__}"
    results = results.assign_attrs({MACHINE: machine})
    with explaining_write_errors(path.parent):
        save_netcdf(results, path)
    return results


def _check(
    saved: xr.Dataset, name: str, config: Config, hparams: Hparams, data: Data
) -> None:
    """Refuses results of an earlier version, different data or different settings."""
    if "final_train_accuracy" not in saved:
        raise UserError(
            f"The results of {name} are those of an earlier version, which judged runs "
            "by another rule; choose another --out_dir."
        )
    _check_data(saved, name, data)
    settings = settings_by_name(config, resolve(config, hparams))
    defaults = settings_by_name(Config(), Hparams())
    for setting, value in settings.items():
        if value is None or setting == "name" or not uses_setting(config, setting):
            continue
        if setting not in saved.coords and value == defaults[setting]:
            continue  # a setting that is newer than the results
        previous = saved.coords[setting].item() if setting in saved.coords else None
        expected = coordinate(setting, value)
        if previous != (str(expected) if isinstance(expected, bool) else expected):
            raise UserError(
                f"The results of {name} were trained with {setting} {previous}, now "
                f"{expected}; choose another --out_dir."
            )


def _check_data(saved: xr.Dataset, name: str, data: Data) -> None:
    if saved.attrs["dataset_fingerprint"] != data.fingerprint:
        raise UserError(
            f"The results of {name} were measured on different data; choose another "
            "--out_dir."
        )


def curvature(data: Data, units: int = 4, examples: int = 2000) -> xr.Dataset:
    """Returns the Hessian eigenvalues of the loss for single hidden units, by divisor.

    They are those of the keras preset's network at initialisation, ascending, in
    float64. For the incoming weights and bias of one unit, the Hessian of the mean
    cross-entropy is the mean over images of ``c 1[z > 0] x xᵀ``: x = (pixels / divisor,
    1), z is the unit's input, and c is the variance of the unit's outgoing weights
    under the softmax outputs. This is exact, since a ReLU is linear except at 0.
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
    eigenvalues = np.reshape(spectra, (len(DIVISORS), units, -1))
    variables = {"eigenvalue": (("divisor", "unit", "rank"), eigenvalues)}
    return xr.Dataset(variables, {"divisor": list(DIVISORS)})


def epoch_seconds(data: Data, folder: Path) -> xr.Dataset:
    """Returns the seconds of an epoch of the book's network, unscaled and scaled.

    Both are timed alternately. The times are saved and read like results of runs.
    """
    path = folder / "epoch-seconds.nc"
    if path.exists():
        saved = read_results(path)
        _check_data(saved, "epoch-seconds", data)
        return saved
    config, hparams = PRESETS["book"]
    config = dataclasses.replace(config, num_epochs=1, evaluate_train=False)
    seconds = np.empty((len(TIMED), REPEATS))
    for repeat in range(-1, REPEATS):  # -1 compiles and is overwritten
        for row, divisor in enumerate(TIMED):
            start = time.perf_counter()
            sweep({"divisor": [divisor]}, data, config, hparams)
            seconds[row, repeat] = time.perf_counter() - start
    variables = {"seconds": (("divisor", "repeat"), seconds)}
    attrs = {"dataset_fingerprint": data.fingerprint}
    times = xr.Dataset(variables, {"divisor": list(TIMED)}, attrs)
    return _save(times, path)


def dropout_scaling(num_seeds: int, dropout_rate: float = 0.25) -> xr.Dataset:
    """Returns mean ``ratio`` and maximum ``factor`` of ones after dropout, by seed."""
    ones, keys = jnp.ones((1000, 1000)), map(jax.random.key, range(num_seeds))
    dropped = [dropout(key, dropout_rate, ones) for key in keys]
    ratios = [float(jnp.mean(values)) for values in dropped]
    factors = [float(jnp.max(values)) for values in dropped]
    return xr.Dataset({"ratio": ("seed", ratios), "factor": ("seed", factors)})
