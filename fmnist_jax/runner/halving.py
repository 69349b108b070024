"""``--halving``: the rungs of a command line."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fmnist_jax.errors import UserError
from fmnist_jax.runner.experiment import Answer, Experiment, Job, Options
from fmnist_jax.runner.flag_values import check_apart, given_among, parse_value
from fmnist_jax.search.candidates import VALIDATION_SHARE
from fmnist_jax.search.rungs import Rungs, check_rungs
from fmnist_jax.values import COUNT

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

EXCLUDED = ("keep_states", "num_shards")


def check_stages(experiment: Experiment, options: Options) -> None:
    """Raises UserError for flags that an experiment with a search cannot use."""
    if not experiment.search:
        return
    for flag in given_among((*EXCLUDED, "halving", "extend"), options):
        raise UserError(
            f"--{flag} cannot be used with {experiment.name}, which trains in several "
            "stages; use another experiment, such as scale_sweep."
        )


def rungs_of(experiment: Experiment, options: Options, epochs: int) -> Rungs | None:
    """Returns the rungs that the flags ask for; None without ``--halving``.

    The experiment must not need every run up to the last epoch. ``epochs`` is the
    number of passes over the training set, unless ``--rungs`` gives it.
    """
    if not options["halving"]:
        for flag in ("rungs", "keep_share"):
            if options[flag] is not None:
                raise UserError(f"--{flag} has no effect without --halving.")
        return None
    if experiment.plane or experiment.extra_measurements:
        raise UserError(
            f"--halving cannot be used with {experiment.name}, which needs the last "
            "epoch of every run; use another experiment, such as scale_sweep."
        )
    check_apart("halving", EXCLUDED, options)
    numbers = sorted({max(1, epochs // 9), max(1, epochs // 3), epochs})
    if options["rungs"] is not None:
        texts = options["rungs"].split(",")
        numbers = [parse_value("rungs", COUNT, text) for text in texts]
        if options["epochs"] not in (None, numbers[-1]):
            raise UserError(
                f"--epochs={options['epochs']}, but the last of --rungs="
                f"{options['rungs']} is {numbers[-1]}; leave --epochs out."
            )
    if len(numbers) < 2:
        raise UserError(
            f"--halving has no effect with the only rung {numbers[0]}; train for more "
            "--epochs, or give --rungs=1,3,9."
        )
    share = options["keep_share"]
    kept = Rungs().keep if share is None else share
    return check_rungs(Rungs(tuple(numbers), kept))


def without_answer(experiment: Experiment) -> tuple[Experiment, list[str]]:
    """Replaces answer and figures, which may need every run up to the last epoch.

    A validation set is held out.

    Returns the changed experiment, and lines for the user.
    """
    lines = []
    original = type(experiment)(experiment.name, "", {})
    if (experiment.answer, experiment.figures) != (original.answer, original.figures):
        lines.append(
            f"Tables and figures of {experiment.name} that need the last epoch of "
            "every run are left out."
        )

    def figures(dataset: "xr.Dataset") -> Mapping[str, "Figure"]:
        from fmnist_jax.figures.halving import figure

        return {"halving": figure(dataset)}

    changes: dict[str, Any] = {"answer": lambda dataset: Answer(), "figures": figures}
    changes["validation_share"] = experiment.validation_share or VALIDATION_SHARE
    return dataclasses.replace(experiment, curves_by="", **changes), lines


def comparing_losses(job: Job, rungs: Rungs) -> Job:
    """Ranks settings by accuracy if the losses of a job cannot be compared."""
    if len({config.loss for config in job.configs}) == 1:
        return job
    line = (
        "Settings are ranked by validation accuracy: the losses of different loss "
        "functions cannot be compared."
    )
    search = rungs._replace(by="validation_accuracy")
    return dataclasses.replace(job, search=search, notices=(*job.notices, line))
