"""Results on disk, and their summary over seeds. Imports no jax."""

import io
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import pandas as pd
import xarray as xr

from fmnist_jax.errors import UserError
from fmnist_jax.files import atomic_write

RESULTS_FILE, SUMMARY_FILE, SETTINGS_FILE = "results.nc", "summary.csv", "config.json"
# What tables show of a run's last epoch.
FINAL = ("test_accuracy", "test_loss", "train_accuracy", "train_loss")


def sweep_axes(dataset: xr.Dataset) -> list[str]:
    """Returns the names of the swept axes, without "seed"."""
    return [str(dim) for dim in dataset.status.dims if dim != "seed"]


def combinations(dataset: xr.Dataset) -> Iterator[dict[str, int]]:
    """Yields the position along each swept axis of each combination of their values."""
    axes = sweep_axes(dataset)
    for index in itertools.product(*(range(dataset.sizes[axis]) for axis in axes)):
        yield dict(zip(axes, index, strict=True))


def summarise(dataset: xr.Dataset) -> pd.DataFrame:
    """Returns a row per combination of the axes' values, over its seeds.

    Columns: the axes; ``NAME_mean`` and ``NAME_std`` (sample standard deviation; NaN of
    one seed) of the last epoch's ``FINAL`` metrics, NaN where a seed's is not
    finite; ``seeds``; ``status``, such as "trained" or "frozen 2, trained 1"; and
    ``dataset``.
    """
    last = dataset.isel(epoch=-1)
    several = dataset.sizes["seed"] > 1
    rows = []
    for index in combinations(dataset):
        runs = last.isel(index)
        row: dict[str, Any] = {name: runs[name].values.item() for name in index}
        for name in FINAL:
            values = runs[name].values.astype(float)
            finite = np.isfinite(values).all()
            row[f"{name}_mean"] = values.mean() if finite else np.nan
            row[f"{name}_std"] = values.std(ddof=1) if finite and several else np.nan
        names, counts = np.unique(runs.status.values.astype(str), return_counts=True)
        listed = [f"{n} {c}" for n, c in zip(names, counts, strict=True)]
        row["seeds"] = int(counts.sum())
        row["status"] = names[0] if len(names) == 1 else ", ".join(listed)
        row.setdefault("dataset", dataset.attrs["dataset"])
        rows.append(row)
    return pd.DataFrame(rows)


def stack(axis: str, datasets: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Returns results side by side on a new first axis, by their labels.

    A setting that differs, or that only some have, stands along the axis too (NaN or ""
    where there is none); attributes that differ are joined by commas.
    """
    whole = list(datasets.values())
    settings = {n: c for each in whole for n, c in each.coords.items() if not c.ndim}
    found = xr.concat(
        [each.drop_vars([*settings], errors="ignore") for each in whole],
        xr.DataArray(list(datasets), dims=axis, attrs={"long_name": axis}, name=axis),
        combine_attrs="override",
    )
    for name, setting in settings.items():
        absent = "" if setting.dtype.kind in "UO" else np.nan
        values = [
            each[name].item() if name in each.coords else absent for each in whole
        ]
        same = all(value == values[0] for value in values)
        variable = ((), values[0]) if same else (axis, values)
        found = found.assign_coords({name: (*variable, setting.attrs)})
    for name in found.attrs:
        values = list(dict.fromkeys(each.attrs[name] for each in whole))
        same = len(values) == 1
        found.attrs[name] = values[0] if same else ", ".join(map(str, values))
    return found


def with_gap(dataset: xr.Dataset) -> xr.Dataset:
    """Returns results with ``accuracy_gap``: training minus test accuracy."""
    gap = dataset.train_accuracy - dataset.test_accuracy
    gap.attrs = {"long_name": "training − test accuracy", "units": "1"}
    return dataset.assign(accuracy_gap=gap)


def chosen(dataset: xr.Dataset, along: str) -> xr.Dataset:
    """Returns results without the axis ``along``, at its best value for each of others.

    The best has the highest mean test accuracy after the last epoch; one with a seed
    that is not finite is none. It is chosen on the test set, and so a little too good.
    """
    final = dataset.test_accuracy.isel(epoch=-1).mean("seed", skipna=False).fillna(-1)
    return dataset.isel({along: final.argmax(along).variable})


def summarise_chosen(dataset: xr.Dataset, along: str) -> pd.DataFrame:
    """Returns ``summarise`` of what is ``chosen``, and what it is."""
    best = chosen(dataset, along)
    table = summarise(best)
    values = [best[along].isel(index).item() for index in combinations(best)]
    table.insert(len(sweep_axes(best)), along, values)
    return table


def stops(dataset: xr.Dataset) -> pd.DataFrame:
    """Returns a row per run with a target: the epoch of its stop, NaN for none."""
    rows = []
    for index in combinations(dataset):
        for run in range(dataset.sizes["seed"]):
            one = dataset.isel({**index, "seed": run})
            names = [*index, "seed", "stopped_epoch"]
            row = {name: one[name].item() for name in names}
            row["test_accuracy"] = one.test_accuracy.isel(epoch=-1).item()
            rows.append(row)
    return pd.DataFrame(rows)


def _strict(value: Any) -> Any:
    """Returns a value with None for the numbers that JSON does not know."""
    if isinstance(value, Mapping):
        return {key: _strict(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _as_netcdf(dataset: xr.Dataset) -> bytes:
    """Returns the bytes of a NetCDF-4 file: HDF5 crashes where a disk is full."""
    content = io.BytesIO()
    with h5netcdf.File(content, "w") as file:
        dataset.dump_to_store(xr.backends.H5NetCDFStore(file))
    return content.getvalue()


def save_netcdf(dataset: xr.Dataset, path: Path) -> Path:
    """Writes a NetCDF-4 file; returns its path."""
    content = _as_netcdf(dataset)
    with atomic_write(path) as new:
        new.write_bytes(content)
    return path


def save(dataset: xr.Dataset, out_dir: Path, settings: Mapping[str, Any]) -> list[Path]:
    """Writes results, summary and settings into a folder; returns their paths."""
    saved = save_netcdf(dataset, out_dir / RESULTS_FILE)
    with atomic_write(out_dir / SUMMARY_FILE) as path:
        summarise(dataset).to_csv(path, index=False)
    return [saved, out_dir / SUMMARY_FILE, save_settings(out_dir, settings)]


def save_settings(out_dir: Path, settings: Mapping[str, Any]) -> Path:
    """Writes settings into a folder; returns their path."""
    with atomic_write(out_dir / SETTINGS_FILE) as path:
        text = json.dumps(_strict(settings), indent=2, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
    return out_dir / SETTINGS_FILE


def load(path: Path | str) -> xr.Dataset:
    """Returns the results of a folder, or of a ``results.nc``, in memory.

    Raises:
      UserError: if there are none, or if they cannot be read.
    """
    path = Path(path)
    path = path / RESULTS_FILE if path.is_dir() else path
    if not path.exists():
        raise UserError(f"There are no results at {path}.")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            return dataset.load()
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} cannot be read as results: {error}") from error
