"""Does dropout shrink the gap from training to test accuracy?

    python -m experiments.dropout --dropout_rates=0,.25

6 runs of --preset=book (784-1000-10) under Adam, 30 epochs: nine minutes on two cores.
"""

from fmnist_jax.runner import Experiment, Figures, Results, main


def figures(dataset: Results) -> Figures:
    """The gap with dropout off, and with dropout on during evaluation."""
    from fmnist_jax.figures import details

    return {"gap": details.gaps(dataset, line="dropout_rate")}


EXPERIMENT = Experiment(
    name="dropout",
    question="Does dropout shrink the gap from training to test accuracy?",
    preset="book",
    settings={"optimizer": "adam", "learning_rate": 1e-3, "evaluate_dropout": True},
    epochs=30,
    axes={"dropout_rate": (0.0, 0.25)},
    curves_by="dropout_rate",
    figures=figures,
)

if __name__ == "__main__":
    main(EXPERIMENT)
