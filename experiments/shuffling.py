"""Does the order of the examples matter?

    python -m experiments.shuffling --orders=shuffled,file,sorted

9 runs of --preset=lab (784-128-10): twenty seconds on two cores.
"""

from fmnist_jax.config import ORDERS
from fmnist_jax.runner import Experiment, Figures, Job, Probes, Results, main


def probes(job: Job) -> Probes:
    """The share of each predicted class after each epoch."""
    from fmnist_jax.probes.histograms import predictions_probe

    return (predictions_probe(),)


def figures(dataset: Results) -> Figures:
    """The shares of predicted classes."""
    from fmnist_jax.figures import details

    return {"predictions": details.predictions(dataset, line="order")}


EXPERIMENT = Experiment(
    name="shuffling",
    question="Does the order of the examples matter?",
    preset="lab",
    axes={"order": ORDERS},
    probes=probes,
    curves_by="order",
    figures=figures,
)

if __name__ == "__main__":
    main(EXPERIMENT)
