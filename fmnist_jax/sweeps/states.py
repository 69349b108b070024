"""The trained states of runs: kept, and selected by their settings."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from fmnist_jax import training
from fmnist_jax.config import STATIC, Config, Hparams, coordinate
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.data.normalization import Normalization
from fmnist_jax.errors import UserError
from fmnist_jax.probes.probe import Probe
from fmnist_jax.sweeps.checkpoints import Part
from fmnist_jax.sweeps.labelling import STATE
from fmnist_jax.sweeps.planning import Plan, run_config, run_hparams, run_settings
from fmnist_jax.sweeps.program_data import fitted

NONE_KEPT = "No states were kept: every setting has at least one seed that diverged."


class Run(NamedTuple):
    """A trained run: what ``predict``, ``evaluate`` and ``train_step`` take.

    Attributes:
      config: its static settings.
      hparams: its traced settings, resolved.
      state: after its last epoch.
    """

    config: Config
    hparams: Hparams
    state: training.State


def _leaves_by_path(state: training.State, separator: str = "/") -> dict[str, Any]:
    """Returns the arrays of a state by their path, ``params/Dense_0/kernel``."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {
        jax.tree_util.keystr(path, simple=True, separator=separator): leaf
        for path, leaf in leaves
    }


def _record(
    config: Config, hparams: Hparams, state: training.State, key: Any, batch: Dataset
) -> dict[str, Any]:
    """Outputs the state as a probe. Its normalization is shared by all runs."""
    bare = dataclasses.replace(state, normalization=None)
    return {STATE + name: leaf for name, leaf in _leaves_by_path(bare, ".").items()}


STATE_PROBE = Probe(_record, when="end", examples=1)


@dataclasses.dataclass(frozen=True, eq=False)
class States:
    """The states of runs after their last epoch.

    Attributes:
      axes: name to values, of the sweep; "seed" is last.
      config: static settings that are not axes.
      hparams: traced settings that are not axes.
      arrays: position of each kept run in the flattened grid to its arrays by name.
      shapes: of an image, and the number of classes.
      normalizations: by program; those of programs without normalization are left out.
    """

    axes: Mapping[str, tuple[Any, ...]]
    config: Config
    hparams: Hparams
    arrays: Mapping[int, Mapping[str, np.ndarray]]
    shapes: tuple[tuple[int, ...], int]
    normalizations: Mapping[Config, Normalization]

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def plan(self) -> Plan:
        """The plan of the sweep, without its groups."""
        return Plan(self.axes, self.config, self.hparams, (), 1)

    @property
    def settings(self) -> list[dict[str, Any]]:
        """The values of the axes of each kept run."""
        return [run_settings(self.plan, run) for run in self.arrays]

    @property
    def nbytes(self) -> int:
        """The size of all arrays in bytes."""
        return sum(a.nbytes for arrays in self.arrays.values() for a in arrays.values())

    def sel(self, **settings: Any) -> Run:
        """Returns the only kept run with these values of the axes.

        Raises:
          UserError: for an unknown axis, or if there are no such runs, or several.
        """
        runs = self._positions(settings)
        if len(runs) == 1:
            return self.run(runs[0])
        given = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        free = [n for n, v in self.axes.items() if n not in settings and len(v) > 1]
        raise UserError(
            f"{len(runs)} of {len(self)} kept runs have {given or 'these settings'}; "
            f"expected one. Select also by {', '.join(free)}, or use runs()."
            if runs
            else f"None of the {len(self)} kept runs has {given}; see .settings."
        )

    def runs(self, **settings: Any) -> list[Run]:
        """Returns the kept runs with these values of the axes, such as all seeds."""
        return [self.run(position) for position in self._positions(settings)]

    def _positions(self, settings: Mapping[str, Any]) -> list[int]:
        for name in settings:
            if name not in self.axes:
                raise UserError(
                    f"{name} is no axis of these runs; their axes are "
                    f"{', '.join(self.axes)}."
                )
        return [
            run
            for run, values in zip(self.arrays, self.settings, strict=True)
            if all(_is_same(n, values[n], value) for n, value in settings.items())
        ]

    def run(self, run: int) -> Run:
        """Returns the kept run at a position in the flattened grid."""
        config = run_config(self.plan, run)
        state = jax.tree.map(lambda x: jax.numpy.asarray(x[0]), self.stacked([run]))
        normalization = self.normalizations.get(config)
        return Run(
            config,
            run_hparams(self.plan, config, run),
            dataclasses.replace(state, normalization=normalization),
        )

    def stacked(self, runs: Sequence[int]) -> training.State:
        """Returns the states of kept runs of one program, NumPy arrays ``[runs, …]``.

        ``runs`` are positions in the grid. The normalization is left out.

        Raises:
          UserError: if a state does not fit the settings.
        """
        config = run_config(self.plan, runs[0])
        hparams = run_hparams(self.plan, config, runs[0])
        shape, num_classes = self.shapes
        normalization = self.normalizations.get(config)
        like = jax.eval_shape(
            lambda key: training.init(
                config, hparams, key, shape, num_classes, normalization
            ),
            jax.eval_shape(lambda: jax.random.key(0)),
        )
        bare = dataclasses.replace(like, normalization=None)
        leaves = [
            np.stack([self._leaf(run, name, x) for run in runs])
            for name, x in _leaves_by_path(bare).items()
        ]
        return jax.tree.unflatten(jax.tree.structure(bare), leaves)

    def _leaf(self, run: int, name: str, like: Any) -> np.ndarray:
        leaf = self.arrays[run].get(name)
        if leaf is None or (leaf.shape, leaf.dtype) != (like.shape, like.dtype):
            got = "missing" if leaf is None else f"{leaf.dtype} {list(leaf.shape)}"
            raise UserError(
                f"The array {name} of the kept state is {got}; the settings need "
                f"{like.dtype} {list(like.shape)}. Give the network and the functions "
                "with which it was trained."
            )
        return leaf


def _is_same(name: str, value: Any, wanted: Any) -> bool:
    if name in STATIC:
        return bool(value == wanted) or coordinate(name, value) == wanted
    return np.float32(value) == np.float32(wanted)


def kept_states(plan: Plan, parts: Iterable[Part], data: Data) -> States:
    """Returns the states among the results of runs.

    Args:
      plan: what was run, with ``STATE_PROBE``.
      parts: its results, in any order.
      data: what it was run on.
    """
    arrays: dict[int, dict[str, np.ndarray]] = {}
    for part in parts:
        leaves = {n: v for n, v in part.values.items() if n.startswith(STATE)}
        for row, run in enumerate(part.runs if leaves else ()):
            arrays[run] = {
                name.removeprefix(STATE).replace(".", "/"): values[row]
                for name, values in leaves.items()
            }
    configs = {group.config for group in plan.groups}
    normalizations = {config: fitted(config, data) for config in configs}
    return States(
        plan.axes,
        plan.config,
        plan.hparams,
        dict(sorted(arrays.items())),
        (data.image_shape, data.num_classes),
        {config: n for config, n in normalizations.items() if n is not None},
    )


def keep_best(states: States, results: xr.Dataset) -> States:
    """Returns the states of all seeds of the best setting.

    The best setting has the highest mean over seeds of the validation accuracy after
    the last epoch; without a validation set, of the test accuracy; and without
    accuracies, the lowest validation or test loss. A setting with a diverged seed is
    not chosen; if every setting has one, no state is kept.
    """
    names = ["validation_accuracy", "test_accuracy", "validation_loss", "test_loss"]
    name = next(name for name in names if name in results)
    score = (
        results[name].isel(epoch=-1).transpose(*states.axes).mean("seed", skipna=False)
    )
    sign = -1 if name.endswith("loss") else 1
    values = (sign * score.values).ravel()
    if np.isnan(values).all():
        return dataclasses.replace(states, arrays={})
    best, seeds = int(np.nanargmax(values)), len(states.axes["seed"])
    kept = range(best * seeds, (best + 1) * seeds)
    arrays = {run: a for run, a in states.arrays.items() if run in kept}
    return dataclasses.replace(states, arrays=arrays)
