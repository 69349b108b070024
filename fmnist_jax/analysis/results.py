"""Results on disk, and their tables over seeds. Imports no jax."""

import io
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import pandas as pd
import xarray as xr

from fmnist_jax.errors import UserError, reason
from fmnist_jax.files import atomic_write

RESULTS_FILE, SUMMARY_FILE, SETTINGS_FILE = "results.nc", "summary.csv", "config.json"
FILES_OF_RUNS = (RESULTS_FILE, SUMMARY_FILE)  # of experiments with runs
# Metrics of the last epoch in the summary, and further ones with a validation set.
FINAL = ("test_accuracy", "test_loss", "train_accuracy", "train_loss")
VALIDATION = ("validation_accuracy", "validation_loss")


def sweep_axes(dataset: xr.Dataset) -> list[str]:
    """Returns the names of the swept axes, without "seed"."""
    return [str(dim) for dim in dataset.status.dims if dim != "seed"]


def selection_metric(dataset: xr.Dataset) -> str:
    """Returns the metric by which settings are chosen: of validation or else of test.

    A choice by the test set biases the test accuracy of what is chosen upwards.
    """
    return VALIDATION[0] if VALIDATION[0] in dataset else FINAL[0]


def combinations(dataset: xr.Dataset, *without: str) -> list[dict[str, int]]:
    """Returns the position along each swept axis for each combination of values.

    The axes in ``without`` are left out.
    """
    axes = [axis for axis in sweep_axes(dataset) if axis not in without]
    positions = itertools.product(*(range(dataset.sizes[axis]) for axis in axes))
    return [dict(zip(axes, index, strict=True)) for index in positions]


def as_table(variables: xr.Dataset, axes: list[str]) -> pd.DataFrame:
    """Returns a row per combination of the values of ``axes``, in grid order.

    Columns: the axes, then the variables. Variables that lack an axis are repeated.
    """
    rows = variables.expand_dims("all").to_dataframe(dim_order=["all", *axes])
    return rows.reset_index()[[*axes, *variables.data_vars]]


def summarise(dataset: xr.Dataset) -> pd.DataFrame:
    """Returns a row per combination of the axes' values, over its seeds.

    Columns: the axes; ``NAME_mean`` and ``NAME_std`` (sample standard deviation; NaN
    for one seed) of each ``FINAL`` metric after the last epoch, and of ``VALIDATION``
    if there is a validation set, NaN if the value of any seed is not finite; ``seeds``;
    ``status``, such as "trained" or "frozen 2, trained 1"; ``is_trained`` of an
    adaptive map; settings that vary along an axis but are not axes themselves; and
    ``dataset``.
    """
    columns: dict[str, Any] = {}
    has_spread = dataset.sizes["seed"] > 1
    for name in (*FINAL, *(name for name in VALIDATION if name in dataset)):
        values = dataset[name].isel(epoch=-1).astype(float)
        finite = values.where(np.isfinite(values))
        columns[f"{name}_mean"] = finite.mean("seed", skipna=False)
        std = finite.std("seed", ddof=1, skipna=False) if has_spread else np.nan
        columns[f"{name}_std"] = std
    columns["seeds"] = dataset.sizes["seed"]
    columns["status"] = xr.apply_ufunc(
        _count_statuses,
        dataset.status,
        input_core_dims=[["seed"]],
        vectorize=True,
        output_dtypes=[object],
    )
    if "is_trained" in dataset:
        columns["is_trained"] = dataset.is_trained.broadcast_like(
            dataset.status.isel(seed=0, drop=True)
        )
    variables = xr.Dataset(columns)
    along = [n for n, c in variables.coords.items() if c.ndim and n not in c.dims]
    variables = variables.reset_coords(along)[[*columns, *along]]
    table = as_table(variables, sweep_axes(dataset))
    if "dataset" not in table:
        table["dataset"] = dataset.attrs["dataset"]
    return table


def _count_statuses(statuses: np.ndarray) -> str:
    names, counts = np.unique(statuses.astype(str), return_counts=True)
    if len(names) == 1:
        return str(names[0])
    return ", ".join(f"{name} {n}" for name, n in zip(names, counts, strict=True))


def stack(axis: str, datasets: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Returns results side by side along a new first axis, by their labels.

    A setting with several values becomes a coordinate along the axis (NaN or "" if a
    data set lacks it). Attributes with several values are joined by commas; notices are
    collected, and other lists that differ, such as names of classes, are left out.
    """
    parts = list(datasets.values())
    settings = {n: c for part in parts for n, c in part.coords.items() if not c.ndim}
    stacked = xr.concat(
        [part.drop_vars([*settings], errors="ignore") for part in parts],
        xr.DataArray(list(datasets), dims=axis, attrs={"long_name": axis}, name=axis),
        combine_attrs="override",
    )
    for name, setting in settings.items():
        absent = "" if setting.dtype.kind in "UO" else np.nan
        values = [
            part[name].item() if name in part.coords else absent for part in parts
        ]
        same = all(value == values[0] for value in values)
        variable = ((), values[0]) if same else (axis, values)
        stacked = stacked.assign_coords({name: (*variable, setting.attrs)})
    lines = [line for part in parts for line in part.attrs.get("notices", [])]
    stacked.attrs.pop("notices", None)
    for name, value in [*stacked.attrs.items()]:
        values = [part.attrs.get(name) for part in parts]
        if all(np.array_equal(other, value) for other in values):
            continue
        if np.ndim(value):
            del stacked.attrs[name]
        else:
            stacked.attrs[name] = ", ".join(map(str, dict.fromkeys(values)))
    if lines:
        stacked.attrs["notices"] = list(dict.fromkeys(lines))
    return stacked


def with_gap(dataset: xr.Dataset) -> xr.Dataset:
    """Returns results with ``accuracy_gap``: training minus test accuracy."""
    gap = dataset.train_accuracy - dataset.test_accuracy
    gap.attrs = {"long_name": "training − test accuracy", "units": "1"}
    return dataset.assign(accuracy_gap=gap)


def at_best(dataset: xr.Dataset, along: str) -> xr.Dataset:
    """Returns the results at the best ``along`` value for each combination.

    Best: the highest mean ``selection_metric`` after the last epoch, among the values
    for which every seed is finite.
    """
    final = (
        dataset[selection_metric(dataset)]
        .isel(epoch=-1)
        .mean("seed", skipna=False)
        .fillna(-1)
    )
    return dataset.isel({along: final.argmax(along).variable})


def summarise_best(dataset: xr.Dataset, along: str) -> pd.DataFrame:
    """Returns ``summarise`` of ``at_best``, with the selected values of ``along``."""
    best = at_best(dataset, along)
    axes = sweep_axes(best)
    selected = as_table(best[[along]].reset_coords(), axes)
    table = summarise(best).drop(columns=along, errors="ignore")
    table.insert(len(axes), along, selected[along])
    return table


def stopping_epochs(dataset: xr.Dataset) -> pd.DataFrame:
    """Returns a row per run: the epoch in which it stopped, NaN if it did not."""
    last = dataset[["stopped_epoch", "test_accuracy"]].isel(epoch=-1)
    return as_table(last.astype(float), [*sweep_axes(dataset), "seed"])


def save_netcdf(dataset: xr.Dataset, path: Path) -> Path:
    """Writes a NetCDF-4 file; returns its path."""
    # HDF5 crashes the process if it writes to a full disk itself.
    content = io.BytesIO()
    with h5netcdf.File(content, "w") as file:
        dataset.dump_to_store(xr.backends.H5NetCDFStore(file))
    with atomic_write(path) as new:
        new.write_bytes(content.getvalue())
    return path


def save(dataset: xr.Dataset, out_dir: Path, settings: Mapping[str, Any]) -> list[Path]:
    """Writes results, summary and settings into a folder; returns their paths."""
    saved = save_netcdf(dataset, out_dir / RESULTS_FILE)
    with atomic_write(out_dir / SUMMARY_FILE) as path:
        summarise(dataset).to_csv(path, index=False)
    return [saved, out_dir / SUMMARY_FILE, save_settings(out_dir, settings)]


def save_settings(out_dir: Path, settings: Mapping[str, Any]) -> Path:
    """Writes settings into a folder; returns their path."""
    # JSON has no numbers that are not finite.
    strict = json.loads(json.dumps(settings), parse_constant=lambda name: None)
    with atomic_write(out_dir / SETTINGS_FILE) as path:
        text = json.dumps(strict, indent=2, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
    return out_dir / SETTINGS_FILE


def load(path: Path | str) -> xr.Dataset:
    """Reads the results in a folder, or in a ``results.nc`` file, into memory."""
    path = Path(path)
    path = path / RESULTS_FILE if path.is_dir() else path
    if not path.exists():
        raise UserError(f"There are no results at {path}.")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            dataset.load()
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} cannot be read as results ({reason(error)}); delete the file to "
            "measure it again."
        ) from error
    if isinstance(line := dataset.attrs.get("notices"), str):  # a list of one
        dataset.attrs["notices"] = [line]
    return dataset
