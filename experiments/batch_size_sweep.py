"""What do fewer updates with larger batches cost?

    python -m experiments.batch_size_sweep --batch_sizes=32,10000

6 runs of --preset=book (784-1000-10) under Adam: half a minute on two cores.
"""

from fmnist_jax.runner import Experiment, Figures, Results, main


def figures(dataset: Results) -> Figures:
    """Accuracy against the number of updates and of examples."""
    from fmnist_jax.figures import details

    return {"updates": details.against_updates(dataset)}


EXPERIMENT = Experiment(
    name="batch_size_sweep",
    question="What do fewer updates with larger batches cost?",
    preset="book",
    settings={"optimizer": "adam", "learning_rate": 1e-2},
    axes={"batch_size": (32, 10_000)},
    curves_by="batch_size",
    figures=figures,
)

if __name__ == "__main__":
    main(EXPERIMENT)
