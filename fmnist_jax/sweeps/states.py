"""The trained states of runs: kept, and selected by their settings."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from fmnist_jax import training
from fmnist_jax.config import STATIC, Config, Hparams, coordinate
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.data.normalization import Normalization
from fmnist_jax.errors import UserError
from fmnist_jax.probes.probe import Probe
from fmnist_jax.sweeps.checkpoints import Part
from fmnist_jax.sweeps.code_names import code_name
from fmnist_jax.sweeps.grid import Bundle, axis_coordinate
from fmnist_jax.sweeps.labelling import STATE
from fmnist_jax.sweeps.planning import Plan, axis_values, run_config, run_hparams
from fmnist_jax.sweeps.program_data import fitted
from fmnist_jax.sweeps.random_keys import with_keys, without_keys

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


def _leaves_by_path(state: training.State) -> dict[str, Any]:
    """Returns the arrays of a state by their path, ``params/Dense_0/kernel``."""
    paths, leaves = zip(*jax.tree_util.tree_leaves_with_path(state), strict=True)
    names = [jax.tree_util.keystr(p, simple=True, separator="/") for p in paths]
    if len({*names}) < len(names):  # names that contain slashes
        names = [jax.tree_util.keystr(path) for path in paths]
    return dict(zip(names, leaves, strict=True))


def keep_states(
    config: Config, hparams: Hparams, state: training.State, key: Any, batch: Dataset
) -> dict[str, Any]:
    """Outputs the arrays of the state, by number, as a probe.

    Without the normalization, which all runs share.
    """
    bare = dataclasses.replace(state, normalization=None)
    leaves = jax.tree.leaves(without_keys(bare))
    return {f"{STATE}{number}": leaf for number, leaf in enumerate(leaves)}


STATE_PROBE = Probe(keep_states, when="end", examples=1)


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
      data_fingerprint: of the data that the runs were trained on.
    """

    axes: Mapping[str, tuple[Any, ...]]
    config: Config
    hparams: Hparams
    arrays: Mapping[int, Mapping[str, np.ndarray]]
    shapes: tuple[tuple[int, ...], int]
    normalizations: Mapping[Config, Normalization]
    data_fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.arrays)

    def __repr__(self) -> str:
        axes = ", ".join(f"{name}: {len(vs)}" for name, vs in self.axes.items())
        size = f"{self.nbytes / 1e6:.1f} MB"
        return f"<States of {len(self)} runs, {size}, of a sweep over {axes}>"

    @property
    def plan(self) -> Plan:
        """The plan of the sweep, without its groups."""
        return Plan(self.axes, self.config, self.hparams, (), 1)

    @property
    def settings(self) -> list[dict[str, Any]]:
        """The values of the axes of each kept run; functions and networks by name."""
        return [
            {name: _named(name, v) for name, v in axis_values(self.plan, run).items()}
            for run in self.arrays
        ]

    @property
    def nbytes(self) -> int:
        """The size of all arrays in bytes."""
        distinct = {id(arrays): arrays for arrays in self.arrays.values()}
        return sum(a.nbytes for arrays in distinct.values() for a in arrays.values())

    def sel(self, **settings: Any) -> Run:
        """Returns the only kept run with these values of the axes.

        Raises:
          UserError: for an unknown axis, or if there are no such runs, or several.
        """
        runs = self._positions(settings)
        if not runs:
            raise self._none_kept(settings)
        if len(runs) > 1:
            given = ", ".join(f"{name}={value!r}" for name, value in settings.items())
            free = [n for n, v in self.axes.items() if n not in settings and len(v) > 1]
            raise UserError(
                f"{len(runs)} of {len(self)} kept runs have {given or 'these settings'}"
                f"; expected one. Select also by {', '.join(free)}, or use runs()."
            )
        return self.run(runs[0])

    def runs(self, **settings: Any) -> list[Run]:
        """Returns the kept runs with these values of the axes, such as all seeds.

        Raises:
          UserError: for an unknown axis, or if there are no such runs.
        """
        positions = self._positions(settings)
        if not positions:
            raise self._none_kept(settings)
        return [self.run(position) for position in positions]

    def _none_kept(self, settings: Mapping[str, Any]) -> UserError:
        given = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        which = f"has {given}" if given else "is there"
        return UserError(
            f"None of the {len(self)} kept runs {which}; .settings lists them."
        )

    def _positions(self, settings: Mapping[str, Any]) -> list[int]:
        for name in settings:
            if name not in self.axes:
                raise UserError(
                    f"{name} is no axis of these runs; their axes are "
                    f"{', '.join(self.axes)}."
                )
        return [
            run
            for run in self.arrays
            if all(
                _is_same(name, value, settings[name])
                for name, value in axis_values(self.plan, run).items()
                if name in settings
            )
        ]

    def run(self, run: int) -> Run:
        """Returns the kept run at a position in the flattened grid."""
        config = run_config(self.plan, run)
        like = _shapes(self.plan, run, self.shapes, self.normalizations)
        arrays = jax.tree.map(lambda x: jnp.asarray(x[0]), self.stacked([run]))
        normalization = self.normalizations.get(config)
        state = with_keys(arrays, like)
        state = dataclasses.replace(state, normalization=normalization)
        return Run(config, run_hparams(self.plan, config, run), state)

    def stacked(self, runs: Sequence[int]) -> training.State:
        """Returns the states of kept runs of one program, NumPy arrays ``[runs, …]``.

        ``runs`` are positions in the grid. The normalization is left out, and random
        keys are numbers.

        Raises:
          UserError: if a state does not fit the settings.
        """
        like = _shapes(self.plan, runs[0], self.shapes, self.normalizations)
        bare = jax.eval_shape(without_keys, like)
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


def _named(name: str, value: Any) -> Any:
    """Returns a value of an axis; a function, network or bundle as its coordinate."""
    is_code = name == "model" or callable(value) or isinstance(value, Bundle)
    return axis_coordinate(name, value) if is_code else value


def _is_same(name: str, value: Any, wanted: Any) -> bool:
    """Whether a value is the wanted one, or one of several."""
    if isinstance(wanted, list | range | set | np.ndarray):
        return any(_is_same(name, value, one) for one in wanted)
    if isinstance(value, Bundle):
        return bool(value.label == wanted)
    if name not in (*STATIC, "seed") and not isinstance(wanted, str):
        return bool(np.float32(value) == np.float32(wanted))
    is_equal = value == wanted or coordinate(name, value) == wanted
    is_code = name == "model" or callable(wanted)
    return bool(is_equal or (is_code and code_name(value) == code_name(wanted)))


def kept_states(plan: Plan, parts: Iterable[Part], data: Data) -> States:
    """Returns the states among the results of runs.

    The plan, with ``STATE_PROBE``, was run on these data; the parts are in any order.
    """
    configs = {group.config for group in plan.groups}
    fits = {config: fitted(config, data) for config in configs}
    shapes = data.image_shape, data.num_classes
    arrays: dict[int, dict[str, np.ndarray]] = {}
    names: dict[Config, list[str]] = {}
    for part in parts:
        if f"{STATE}0" not in part.values:
            continue
        config = plan.groups[part.group].config
        if config not in names:
            like = _shapes(plan, part.runs[0], shapes, fits)
            names[config] = [*_leaves_by_path(like)]
        leaves = [part.values[f"{STATE}{n}"] for n in range(len(names[config]))]
        for row, run in enumerate(part.runs):
            values = (leaf[row] for leaf in leaves)
            arrays[run] = dict(zip(names[config], values, strict=True))
    if plan.num_distinct_runs < plan.num_runs:
        trained = enumerate(plan.trained_runs.tolist())
        arrays = {run: arrays[first] for run, first in trained if first in arrays}
    return States(
        plan.axes,
        plan.config,
        plan.hparams,
        dict(sorted(arrays.items())),
        shapes,
        {config: fit for config, fit in fits.items() if fit is not None},
        data.fingerprint,
    )


def _shapes(
    plan: Plan,
    run: int,
    shapes: tuple[tuple[int, ...], int],
    normalizations: Mapping[Config, Normalization | None],
) -> training.State:
    """Returns the shapes of the state of a run, without its normalization."""
    config = run_config(plan, run)
    hparams, normalization = run_hparams(plan, config, run), normalizations.get(config)
    like = jax.eval_shape(
        lambda key: training.init(config, hparams, key, *shapes, normalization),
        jax.eval_shape(lambda: jax.random.key(0)),
    )
    return dataclasses.replace(like, normalization=None)


def keep_best(states: States, results: xr.Dataset) -> States:
    """Returns the states of all seeds of the best setting.

    The best setting has the highest mean over seeds of the validation accuracy after
    the last epoch; without a validation set, of the test accuracy; and without
    accuracies, the lowest validation or test loss. A setting with a diverged seed is
    not chosen; if every setting has one, no state is kept.
    """
    names = ["validation_accuracy", "test_accuracy", "validation_loss", "test_loss"]
    name = next(name for name in names if name in results)
    last = results[name].isel(epoch=-1).transpose(*states.axes)
    score = last.where(np.isfinite(last)).mean("seed", skipna=False)
    sign = -1 if name.endswith("loss") else 1
    values = (sign * score.values).ravel()
    if np.isnan(values).all():
        return dataclasses.replace(states, arrays={})
    best, seeds = int(np.nanargmax(values)), len(states.axes["seed"])
    kept = range(best * seeds, (best + 1) * seeds)
    arrays = {run: a for run, a in states.arrays.items() if run in kept}
    return dataclasses.replace(states, arrays=arrays)
