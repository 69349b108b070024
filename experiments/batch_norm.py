"""Can batch norm rescue tiny inputs?

    python -m experiments.batch_norm

This includes batch norm frozen after the first epoch, as published (--epochs=100). 18
runs of --preset=book (784-1000-10) under Adam, 10 epochs: six minutes on two cores.
"""

from fmnist_jax.config import BATCH_NORMS
from fmnist_jax.runner import Experiment, Figures, Job, Probes, Results, main


def probes(job: Job) -> Probes:
    """Histograms of the hidden layer's outputs after training."""
    from fmnist_jax.probes.histograms import hidden_probe

    return (hidden_probe(when="end"),)


def figures(dataset: Results) -> Figures:
    """The hidden values after training."""
    from fmnist_jax.figures import details

    return {"hidden": details.histograms(dataset, {"hidden": "hidden values"})}


EXPERIMENT = Experiment(
    name="batch_norm",
    question="Can batch norm rescue tiny inputs?",
    preset="book",
    settings={"optimizer": "adam", "learning_rate": 1e-3},
    epochs=10,
    axes={"divisor": (255.0, 2_550_000.0), "batch_norm": BATCH_NORMS},
    probes=probes,
    curves_by="batch_norm",
    figures=figures,
)

if __name__ == "__main__":
    main(EXPERIMENT)
