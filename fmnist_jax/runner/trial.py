"""What a command needs at its end, tried before the training."""

import contextlib
import functools
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fmnist_jax.devices import (
    explaining_start,
    num_cpu_cores,
    use_compilation_cache,
    use_cpu_cores,
)
from fmnist_jax.errors import UserError, reason
from fmnist_jax.sweeps.plan_file import read_plan
from fmnist_jax.sweeps.progress import SweepProgress, shard_groups

MAX_DEVICES = 256  # of a saved sweep
METRICS_BYTES = 24  # of a run after an epoch: six float32 numbers
EXAMPLE_TEXT = "100% ÷ 255 × 10, train_loss #1 $x_1$"
# XLA ends the process for a flag that it does not know.
_PARSE_XLA_FLAGS = "from jaxlib import xla_client; xla_client.CompileOptions()"


def check_figures() -> None:
    """Draws a small figure in memory, with the user's settings of matplotlib."""
    try:
        from fmnist_jax.figures.style import add_legend, grid_of_panels, legend_line

        figure, panels = grid_of_panels(1, 1)
        panels[0, 0].loglog([1, 10], [1, 10])
        figure.suptitle(EXAMPLE_TEXT)
        add_legend(figure, [legend_line(EXAMPLE_TEXT)])
        figure.savefig(io.BytesIO(), format="png")
    except Exception as error:
        raise UserError(
            f"Figures cannot be drawn: {type(error).__name__}: {reason(error)}. Check "
            "the settings in your matplotlibrc, or set MATPLOTLIBRC to an empty file."
        ) from error


def check_disk(progress: SweepProgress) -> None:
    """Raises UserError if the disk is too small for the metrics of the checkpoints."""
    needed = 0
    for number, group in shard_groups(progress):
        runs = progress.plans[number].groups[group]
        epochs = min(runs.config.num_epochs, progress.until or runs.config.num_epochs)
        needed += METRICS_BYTES * epochs * len(runs.runs)
    saved = sum(path.stat().st_size for path in progress.folder.glob("*.part"))
    free = shutil.disk_usage(progress.folder).free
    if needed > free + saved:
        raise UserError(
            f"{progress.folder.parent} cannot be written: the results need at least "
            f"{-(-needed // 1000):,} kB, and {free // 1000:,} kB are free on the disk."
        )


def start_jax(out_dirs: Sequence[Path]) -> None:
    """Starts JAX with one CPU device per core, and with the compilation cache.

    There are at least as many devices as the unfinished sweeps of output folders use:
    the same number gives the same bits.
    """
    _check_xla_flags(os.environ.get("XLA_FLAGS", ""))
    with explaining_start():
        import jax

        count = max([num_cpu_cores(), *map(_saved_devices, out_dirs)])
        with contextlib.suppress(RuntimeError):  # an experiment before has started it
            use_cpu_cores(count)
        use_compilation_cache()
        jax.devices()


def _saved_devices(out_dir: Path) -> int:
    """Returns the number of devices of an unfinished sweep; 1 if there is none."""
    try:
        saved = read_plan(out_dir)
    except UserError:  # explained when the sweep is to be resumed
        saved = None
    devices = [sweep["devices"] for sweep in saved["sweeps"]] if saved else [1]
    return min(MAX_DEVICES, max(devices))


@functools.cache  # JAX reads the flags only when it starts
def _check_xla_flags(flags: str) -> None:
    """Raises UserError if XLA ends a process because of its flags."""
    if not flags:
        return
    done = subprocess.run(
        [sys.executable, "-c", _PARSE_XLA_FLAGS],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    if done.returncode and "parse_flags_from_env" in done.stderr:
        problem = done.stderr.splitlines()[0].partition("] ")[2].rstrip(".")
        raise UserError(f"XLA refuses XLA_FLAGS={flags}: {problem}.")
