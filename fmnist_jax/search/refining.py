"""Adaptive maps in Python; see ``Refinement``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError
from fmnist_jax.search.refinement import Refinement
from fmnist_jax.sweeps.cluster import plan_for
from fmnist_jax.sweeps.running import run_search
from fmnist_jax.sweeps.sweep import check_findings
from fmnist_jax.values import COUNT, CRITERION, plain

if TYPE_CHECKING:
    from distributed import Client


def refined_map(
    plane: Mapping[str, Sequence[float]],
    axes: Mapping[str, Any],
    data: Data,
    config: Config = Config(),  # noqa: B008 - frozen
    hparams: Hparams = Hparams(),  # noqa: B008 - frozen
    *,
    step: int = Refinement().step,
    criterion: str = Refinement().criterion,
    folder: Path | str | None = None,
    progress: bool = False,
    max_width: int | None = None,
    client: "Client | None" = None,
) -> xr.Dataset:
    """Trains a map of two settings; cells are divided where their points differ.

    Every ``step``-th point is trained first; a corner fills in the points of its cell.

    Args:
      plane: the two settings to their values, ascending.
      axes: further axes, as ``sweep`` takes them. Cells are divided if any runs differ.
      data: training and test set.
      config: static settings that are not axes.
      hparams: traced settings that are not axes.
      step: a power of 2.
      criterion: of ``analysis.criteria.judge``; points differ in status or by it.
      folder: of checkpoints, as ``sweep`` uses it.
      progress: whether to show a progress bar, whose end moves with each level.
      max_width: maximum number of runs per device at once; None: as the device allows.
      client: of a Dask cluster, as in ``sweep``.

    Returns:
      As ``sweep``, and ``is_trained`` along the plane: False for points filled in.

    Raises:
      UserError: as ``sweep``; for an invalid plane, step or criterion.
      SweepInterrupted: on Ctrl-C; its ``results`` have the points so far.
    """
    plane = _checked(plane, axes, step)
    if not CRITERION.accepts(criterion):
        raise UserError(f"criterion is {criterion!r}; expected {CRITERION.allowed}.")
    search = Refinement(step, criterion, max_width)
    points = {**plane, **axes}
    whole, on = plan_for(client, points, data, config, hparams, (), max_width)
    check_findings(whole, data)
    how = folder, progress, None, on
    stages = run_search(search, "refined_map", search.first(whole), data, *how)
    return search.labelled(stages)[0]


def _checked(
    plane: Mapping[str, Sequence[float]], axes: Mapping[str, Any], step: int
) -> dict[str, Any]:
    plane = {name: plain(list(values)) for name, values in plane.items()}
    if len(plane) != 2 or not {*plane}.isdisjoint(axes):
        raise UserError(
            "plane needs two settings that are not in axes, such as "
            "{'divisor': […], 'learning_rate': […]}."
        )
    for name, values in plane.items():
        if len(values) < 3 or any(np.diff(values) <= 0):
            raise UserError(f"plane[{name!r}] needs at least 3 values, ascending.")
    if not COUNT.accepts(step) or step & (step - 1):
        raise UserError(f"step is {step!r}; expected a power of 2, such as 8.")
    return plane
