"""Which changes accuracy more, the data set or the scaling?

    python -m experiments.dataset_mixup

A forum thread on the lab of --preset=lab mixed up MNIST and Fashion-MNIST. 12 runs of
--preset=lab (784-128-10): half a minute on two cores.
"""

from fmnist_jax.runner import Experiment, Figures, Results, main


def figures(dataset: Results) -> Figures:
    """Final accuracies by data set and divisor."""
    from fmnist_jax.figures import details

    final = ["train_accuracy", "test_accuracy"]
    return {"final": details.by_choice(dataset, "dataset", final)}


EXPERIMENT = Experiment(
    name="dataset_mixup",
    question="Which changes accuracy more, the data set or the scaling?",
    preset="lab",
    axes={"divisor": (1.0, 255.0)},
    datasets=("mnist", "fashion_mnist"),
    curves_by="divisor",
    figures=figures,
)

if __name__ == "__main__":
    main(EXPERIMENT)
