"""An experiment from its command line to its folder."""

from fmnist_jax.runner.command_line import main
from fmnist_jax.runner.experiment import (
    Answer,
    Data,
    Experiment,
    Figures,
    Job,
    Plan,
    Probes,
    Results,
)

__all__ = [
    "Answer",
    "Data",
    "Experiment",
    "Figures",
    "Job",
    "Plan",
    "Probes",
    "Results",
    "main",
]
