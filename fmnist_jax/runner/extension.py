"""``--extend``: the finished results in the output folder, and what they lack."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fmnist_jax.analysis.results import SETTINGS_FILE, load
from fmnist_jax.errors import UserError, reason
from fmnist_jax.runner.experiment import Options
from fmnist_jax.runner.jobs import Task

if TYPE_CHECKING:
    import xarray as xr

    from fmnist_jax.sweeps.planning import Plan
    from fmnist_jax.sweeps.progress import SweepProgress

EXCLUDED = ("keep_states", "halving", "overwrite", "num_shards", "distributed")


def check_options(options: Options, names: Sequence[str]) -> None:
    """Raises UserError for flags that do not go together with ``--extend``."""
    if not options["extend"]:
        return
    if len(names) > 1 or options["out_dir"] is None:
        raise UserError(
            "--extend requires a single experiment, and --out_dir with its results."
        )
    for flag in EXCLUDED:
        if options[flag] not in (None, False, "none"):
            raise UserError(f"--{flag} and --extend cannot be combined.")


def environment_of(task: Task) -> dict[str, str]:
    """Returns what determines the bits of results, apart from settings and data."""
    from fmnist_jax.sweeps.code_names import code_name
    from fmnist_jax.sweeps.environment import environment

    probes = [code_name(probe.function) for probe in task.job.probes]
    return {**environment(), "probes": ", ".join(probes)}


def earlier_results(task: Task) -> list["xr.Dataset"]:
    """Returns the results in the output folder, of each data set.

    Raises:
      UserError: if there are none, or if they are of other code, versions or probes.
    """
    from fmnist_jax.sweeps.extending import check_environment

    results = load(task.out_dir)
    path = task.out_dir / SETTINGS_FILE
    try:
        settings: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}.") from error
    before = settings.get("environment") or {}
    check_environment(before, environment_of(task), task.out_dir)
    if not task.job.experiment.datasets:
        return [results]
    known = {*results["dataset"].values.tolist()}
    if not known.issuperset(task.job.datasets):
        raise UserError(f"The results in {task.out_dir} are of other data sets.")
    parts = [results.sel(dataset=name, drop=True) for name in task.job.datasets]
    return [
        part.assign_attrs(dataset_fingerprint=data.fingerprint)
        for part, data in zip(parts, task.data, strict=True)
    ]


def with_reused_groups(
    task: Task, plans: Sequence["Plan"], earlier: Sequence["xr.Dataset"]
) -> list["Plan"]:
    """Returns plans whose groups have either runs of the earlier results, or none.

    Raises:
      UserError: if the results cannot be extended by the plans.
    """
    from fmnist_jax.sweeps import extending

    try:
        return [
            extending.with_reused_groups(*triple)
            for triple in zip(plans, earlier, task.data, strict=True)
        ]
    except UserError as error:
        raise UserError(f"{task.out_dir} cannot be extended: {error}") from error


def reuse(progress: "SweepProgress", earlier: Sequence["xr.Dataset"]) -> None:
    """Enters the runs of earlier results into the progress, as finished."""
    from fmnist_jax.sweeps.extending import reused_checkpoints

    triples = zip(progress.plans, earlier, progress.data, strict=True)
    for saved, triple in zip(progress.checkpoints, triples, strict=True):
        for group, finished in reused_checkpoints(*triple).items():
            saved.setdefault(group, finished)


def missing(progress: "SweepProgress") -> list["Plan"]:
    """Returns the plans without the groups that are finished."""
    plans = []
    for number, plan in enumerate(progress.plans):
        saved = progress.checkpoints[number]
        groups = [
            group
            for index, group in enumerate(plan.groups)
            if index not in saved or not saved[index].is_finished
        ]
        plans.append(dataclasses.replace(plan, groups=tuple(groups)))
    return plans
