"""Does it matter in which order the examples come?

    python -m experiments.shuffling --orders=shuffled,file,sorted

9 runs of the lab's network: twenty seconds on two cores.
"""

from fmnist_jax.config import ORDERS
from fmnist_jax.runner import Experiment, Figures, Job, Probes, Results, main


def probes(job: Job) -> Probes:
    """What the network predicts after each epoch."""
    from fmnist_jax.probes.histograms import predictions_probe

    return (predictions_probe(),)


def figures(dataset: Results) -> Figures:
    """Learning curves, and what is predicted: what it saw last?"""
    from fmnist_jax.figures import curves, details

    return {
        "curves": curves.learning_curves(dataset, line="order"),
        "predictions": details.predictions(dataset, line="order"),
    }


EXPERIMENT = Experiment(
    name="shuffling",
    question="Does it matter in which order the examples come?",
    preset="lab",
    axes={"order": ORDERS},
    probes=probes,
    figures=figures,
)

if __name__ == "__main__":
    main(EXPERIMENT)
