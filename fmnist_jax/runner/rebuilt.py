"""Command lines, rebuilt from the texts of their flags."""

import shlex
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from fmnist_jax.runner.experiment import Experiment
from fmnist_jax.runner.flag_table import FLAGS, flags_of
from fmnist_jax.runner.flags import Given


def experiment_arguments(
    given: Given, experiment: Experiment, out_dir: Path
) -> list[str]:
    """Returns the arguments that run one of several experiments alone."""
    unused = FLAGS.keys() - {flag.name for flag in flags_of(experiment)}
    return [*arguments(given, [*unused, "overwrite", "extend"]), f"--out_dir={out_dir}"]


def command(experiments: Sequence[Experiment], given: Given, out_dir: Path) -> str:
    """Returns a command line that writes to ``out_dir``."""
    names = [experiment.name for experiment in experiments]
    several = ["experiments", f"--only={','.join(names)}"]
    module = several if len(names) > 1 else [f"experiments.{names[0]}"]
    words = ["python", "-m", *module, *arguments(given), f"--out_dir={out_dir}"]
    is_windows = sys.platform == "win32"
    return subprocess.list2cmdline(words) if is_windows else shlex.join(words)


def arguments(given: Given, without: Collection[str] = ()) -> list[str]:
    """Returns the arguments of texts that ``read`` returned, but for ``--out_dir``."""
    return [
        f"--{name}" if text is True else f"--{name}={text}"
        for name, text in given.items()
        if name not in (*without, "out_dir")
    ]
