"""Does reducing the learning rate on a plateau help?

    python -m experiments.annealing

9 runs of --preset=book (784-1000-10) under Adam, 30 epochs: eight minutes on two cores.
"""

from fmnist_jax.config import SCHEDULES
from fmnist_jax.runner import Experiment, Figures, Results, main


def figures(dataset: Results) -> Figures:
    """The learning rate of each epoch."""
    from fmnist_jax.figures import details

    return {"rates": details.learning_rates(dataset)}


EXPERIMENT = Experiment(
    name="annealing",
    question="Does reducing the learning rate on a plateau help?",
    preset="book",
    settings={
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "plateau_factor": 0.5,
        "plateau_patience": 0.0,
        "plateau_threshold": 1e-3,
        "min_learning_rate": 1e-5,
    },
    epochs=30,
    axes={"schedule": tuple(SCHEDULES)},
    curves_by="schedule",
    figures=figures,
)

if __name__ == "__main__":
    main(EXPERIMENT)
