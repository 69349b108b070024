"""``--extend``: adds runs to the finished results in the output folder."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fmnist_jax.analysis.results import SETTINGS_FILE, load
from fmnist_jax.errors import UserError, reason
from fmnist_jax.runner.experiment import Options
from fmnist_jax.runner.flag_values import check_apart
from fmnist_jax.runner.jobs import Task

if TYPE_CHECKING:
    import xarray as xr

    from fmnist_jax.sweeps.planning import Plan
    from fmnist_jax.sweeps.progress import SweepProgress

SHARDS = ("num_shards", "distributed")
EXCLUDED = ("keep_states", "halving", "overwrite", "dry_run", *SHARDS)


def check_options(options: Options, names: Sequence[str]) -> None:
    """Raises UserError for flags that cannot be combined with ``--extend``."""
    if not options["extend"]:
        return
    if len(names) > 1 or options["out_dir"] is None:
        raise UserError(
            "--extend requires a single experiment and the --out_dir of its results."
        )
    check_apart("extend", EXCLUDED, options)


def environment_of(task: Task) -> dict[str, str]:
    """Returns the code, versions, JAX settings and probes that results depend on."""
    from fmnist_jax.sweeps.checkpoints import digest
    from fmnist_jax.sweeps.environment import environment
    from fmnist_jax.sweeps.fingerprint import probe_fingerprints

    probes = digest(probe_fingerprints(task.job.probes))[:12]
    return {**environment(), "probes": probes, "experiment": task.code}


def earlier_results(task: Task) -> list["xr.Dataset"]:
    """Returns the results in the output folder, separately for each data set.

    Raises:
      UserError: if there are none, or if they are of other code, versions or probes.
    """
    from fmnist_jax.sweeps.extending import check_environment

    if any((task.out_dir / "states").glob("**/states.json")):
        raise UserError(
            f"{task.out_dir} has trained states, to which --extend cannot add; use "
            "another folder, or move the states."
        )
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
    recorded = {entry["fingerprint"] for entry in settings.get("datasets", [])}
    is_same = recorded == {data.fingerprint for data in task.data}
    if not is_same or results["dataset"].values.tolist() != [*task.job.datasets]:
        raise UserError(
            f"{task.out_dir} cannot be extended: the results are from other data."
        )
    parts = [results.sel(dataset=name, drop=True) for name in task.job.datasets]
    return [
        part.assign_attrs(dataset_fingerprint=data.fingerprint)
        for part, data in zip(parts, task.data, strict=True)
    ]


def with_reused_groups(
    task: Task, plans: Sequence["Plan"], earlier: Sequence["xr.Dataset"]
) -> list["Plan"]:
    """Returns plans in which each group is either reused or trained as a whole.

    Raises:
      UserError: if the results cannot be extended to these plans.
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
    """Marks the groups of earlier results as finished in the progress."""
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
