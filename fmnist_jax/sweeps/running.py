"""Runs a search of one sweep, in memory or in a folder, with a progress bar."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import Notice, SweepInterrupted
from fmnist_jax.files import local_folder
from fmnist_jax.sweeps.cluster import Cluster
from fmnist_jax.sweeps.continuing import Sweep, continued
from fmnist_jax.sweeps.folder_lock import locked
from fmnist_jax.sweeps.jax_settings import usual_settings
from fmnist_jax.sweeps.plan_file import PARTS
from fmnist_jax.sweeps.planning import Plan
from fmnist_jax.sweeps.progress import SweepProgress, num_epochs_trained, saved_parts
from fmnist_jax.sweeps.resuming import open_sweeps
from fmnist_jax.sweeps.stages import Search
from fmnist_jax.sweeps.stop_signals import never_stopped, stop_signals


@usual_settings()
def run_search(
    search: Search,
    name: str,
    planned: Plan,
    data: Data,
    folder: Path | str | None,
    is_shown: bool,
    earlier: Sweep | None = None,
    cluster: Cluster | None = None,
) -> list[SweepProgress]:
    """Trains the runs of a plan, as far as a search does.

    ``planned`` is the first stage, and ``name`` the function that the user called.
    Checkpoints are saved in ``folder``; None keeps them in memory. Training continues
    from the results and states of ``earlier``. Without a cluster, this process trains.

    Returns the progress of each stage. Ctrl-C raises SweepInterrupted, whose
    ``results`` are those so far.
    """
    stages: list[SweepProgress] = []
    try:
        opened = _opened(search, name, planned, data, folder, cluster)
        with opened as (first, is_stopped):
            if earlier is not None:
                starts = continued(first.plans[0], data, earlier)
                first.checkpoints[0].update(starts | first.checkpoints[0])
            stages.append(first)
            train(search, stages, is_stopped, is_shown)
    except KeyboardInterrupt:
        raise _interrupted(search, stages, folder is not None) from None
    return stages


@contextlib.contextmanager
def _opened(
    search: Search,
    name: str,
    planned: Plan,
    data: Data,
    folder: Path | str | None,
    cluster: Cluster | None,
) -> Iterator[tuple[SweepProgress, Callable[[], bool]]]:
    """Opens or resumes the first stage, in a locked folder if there is one.

    In a folder, Ctrl-C stops after an epoch; else at once.
    """
    if folder is None:
        memory = SweepProgress(
            Path(), "", [planned], [data], [{}], is_saved=False, cluster=cluster
        )
        yield memory, never_stopped
        return
    out_dir, command = local_folder(folder), {"experiment": name, "arguments": []}
    with locked(out_dir), stop_signals() as is_stopped:
        first = open_sweeps(
            out_dir,
            [planned],
            [data],
            command,
            cure=f"delete {out_dir / PARTS}",
            search=search.settings,
            cluster=cluster,
        )
        for line in first.notices:
            warnings.warn(line, Notice, stacklevel=6)
        yield first, is_stopped


def _interrupted(
    search: Search, stages: list[SweepProgress], is_saved: bool
) -> SweepInterrupted:
    parts = [part for stage in stages for part in saved_parts(stage, 0)]
    has_epochs = any(part.epoch is not None for part in parts)
    results = search.labelled(stages)[0] if has_epochs else None
    plans = [stage.plans[0] for stage in stages]
    finished = sum(
        len(part.runs)
        for stage, plan in zip(stages, plans, strict=True)
        for part in saved_parts(stage, 0)
        if part.epoch == plan.config.num_epochs
    )
    # The stages of a search may have different grids.
    grids = ((tuple(plan.axes), plan.groups) for plan in plans)
    runs = {(axes, run) for axes, groups in grids for g in groups for run in g.runs}
    return SweepInterrupted(finished, len(runs), results, is_saved=is_saved)


def train(
    search: Search,
    stages: list[SweepProgress],
    is_stopped: Callable[[], bool],
    is_shown: bool | None,
) -> None:
    """Runs a search to its end, with a progress bar on stderr.

    ``stages`` has the first stage; later ones are appended. If ``is_stopped()`` is true
    after an epoch, KeyboardInterrupt is raised. If ``is_shown`` is None, the bar is
    shown if stderr is a terminal.
    """
    from tqdm.auto import tqdm

    bar = tqdm(
        total=search.num_epochs(stages),
        initial=_num_trained(stages),
        desc="training",
        unit="epoch",
        disable=None if is_shown is None else not is_shown,
        smoothing=0,
    )
    count = len(stages)
    with bar:
        for part in search.run(stages, is_stopped):
            if further := stages[count:]:
                count, bar.total = len(stages), search.num_epochs(stages)
                bar.update(_num_trained(further))
            elif part.epoch is not None:
                bar.update(len(part.runs))


def _num_trained(stages: Sequence[SweepProgress]) -> int:
    return sum(map(num_epochs_trained, stages))
