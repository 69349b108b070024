"""``--extend`` and ``--zoom_from``: reuse runs of finished results."""

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist_jax.analysis.results import SETTINGS_FILE, load
from fmnist_jax.errors import UserError, reason
from fmnist_jax.files import local_folder
from fmnist_jax.runner.experiment import Options
from fmnist_jax.runner.flag_values import check_apart
from fmnist_jax.runner.jobs import Task

if TYPE_CHECKING:
    import xarray as xr

    from fmnist_jax.sweeps.planning import Plan
    from fmnist_jax.sweeps.progress import SweepProgress

SHARDS = ("num_shards",)
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
    from fmnist_jax.sweeps.code_names import code_name
    from fmnist_jax.sweeps.fingerprint import probe_fingerprints

    probes = digest(probe_fingerprints(task.job.probes))[:12]
    model = task.job.config.model
    code = {} if model is None else {"model": digest(code_name(model))[:12]}
    return {**task.environment, "probes": probes, "experiment": task.code, **code}


def earlier_results(task: Task) -> list["xr.Dataset"]:
    """Returns the results to reuse, separately for each data set.

    Without ``--extend`` and ``--zoom_from``, there are none. Missing results, and those
    of other code, versions or probes, are refused.
    """
    from fmnist_jax.sweeps.extending import check_environment, trained_points

    source, options = _source(task.job.options, task.out_dir), task.job.options
    if source is None:
        return []
    if options["extend"] and any((source / "states").glob("**/states.json")):
        raise UserError(
            f"{source} has trained states, to which --extend cannot add; use "
            "another folder, or move the states."
        )
    results = load(source)
    path = source / SETTINGS_FILE
    try:
        settings: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}.") from error
    with _explaining(task):
        check_environment(settings.get("environment") or {}, environment_of(task))
    if options["zoom_from"] is not None:
        window = dict(itertools.islice(task.job.axes.items(), 2))
        return [trained_points(results, window)]
    if not task.job.experiment.datasets:
        return [results]
    recorded = {entry["fingerprint"] for entry in settings.get("datasets", [])}
    is_same = recorded == {data.fingerprint for data in task.data}
    if not is_same or results["dataset"].values.tolist() != [*task.job.datasets]:
        raise UserError(
            f"{source} cannot be extended: the results are from other data."
        )
    parts = [results.sel(dataset=name, drop=True) for name in task.job.datasets]
    return [
        part.assign_attrs(dataset_fingerprint=data.fingerprint)
        for part, data in zip(parts, task.data, strict=True)
    ]


def _source(options: Options, out_dir: Path) -> Path | None:
    """Returns the folder whose results are reused."""
    if options["zoom_from"] is not None:
        return local_folder(options["zoom_from"], "--zoom_from")
    return out_dir if options["extend"] else None


@contextlib.contextmanager
def _explaining(task: Task) -> Iterator[None]:
    """Begins the line of an error with the folder whose results cannot be reused."""
    source = _source(task.job.options, task.out_dir)
    verb = "extended" if task.job.options["extend"] else "reused by --zoom_from"
    try:
        yield
    except UserError as error:
        raise UserError(f"{source} cannot be {verb}: {error}") from error


def with_reused_groups(
    task: Task,
    plans: Sequence["Plan"],
    first: Sequence["Plan"],
    earlier: Sequence["xr.Dataset"],
) -> list["Plan"]:
    """Returns plans in which each group is either reused or trained as a whole.

    ``first`` are the plans of the runs that are trained first, and ``earlier`` the
    results to reuse, which are refused if they cannot be extended to these plans.
    """
    from fmnist_jax.sweeps import extending

    with _explaining(task):
        quadruples = zip(plans, first, earlier, task.data, strict=True)
        reused = [extending.with_reused_groups(*some) for some in quadruples]
        if task.job.options["extend"]:
            for triple in zip(plans, earlier, task.data, strict=True):
                extending.check_contained(*triple)
    return reused


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
