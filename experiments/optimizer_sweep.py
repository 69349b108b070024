"""SGD or Adam?

    python -m experiments.optimizer_sweep

Each optimizer at the best of four learning rates. 96 runs of --preset=book
(784-1000-10): a quarter of an hour on two cores; three minutes with --hidden_sizes=128.
"""

from fmnist_jax.config import OPTIMIZERS
from fmnist_jax.runner import Answer, Experiment, Results, main


def answer(dataset: Results) -> Answer:
    """Each optimizer at its best learning rate; final values of all."""
    from fmnist_jax.analysis import results
    from fmnist_jax.figures import curves

    best = results.at_best(dataset, along="learning_rate")
    figures = {
        "best": curves.learning_curves(best, line="optimizer", best_of="learning_rate"),
        "final": curves.final_values(dataset, x="learning_rate"),
    }
    table = results.summarise_best(dataset, along="learning_rate")
    return Answer({"best": table}, figures)


EXPERIMENT = Experiment(
    name="optimizer_sweep",
    question="SGD or Adam?",
    preset="book",
    axes={"optimizer": tuple(OPTIMIZERS), "learning_rate": (1e-4, 1e-3, 1e-2, 1e-1)},
    answer=answer,
)

if __name__ == "__main__":
    main(EXPERIMENT)
