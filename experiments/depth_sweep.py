"""Do hidden layers help, or overfit?

    python -m experiments.depth_sweep --hidden_sizes=none,1000,1000x1000

9 runs of --preset=book (784-1000-10) under Adam: two minutes on two cores.
"""

from fmnist_jax.runner import Experiment, Figures, Results, main


def figures(dataset: Results) -> Figures:
    """The gap from training to test accuracy."""
    from fmnist_jax.figures import details

    return {"gap": details.gaps(dataset, line="hidden_sizes")}


EXPERIMENT = Experiment(
    name="depth_sweep",
    question="Do hidden layers help, or overfit?",
    preset="book",
    settings={"optimizer": "adam", "learning_rate": 1e-3},
    axes={"hidden_sizes": ((), (1000,), (1000, 1000))},
    curves_by="hidden_sizes",
    figures=figures,
)

if __name__ == "__main__":
    main(EXPERIMENT)
