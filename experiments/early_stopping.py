"""Can training stop before epoch 9 of 10?

    python -m experiments.early_stopping --target_accuracies=.85,.9,.95,inf

Training stops after the epoch in which the accuracy reaches the target. 12 runs of
--preset=lab (784-128-10): half a minute on two cores.
"""

from fmnist_jax.runner import Answer, Experiment, Results, main


def answer(dataset: Results) -> Answer:
    """The epoch at which each run stopped, and its accuracy."""
    from fmnist_jax.analysis import report, results
    from fmnist_jax.figures import details

    final = ["stopped_epoch", "test_accuracy"]
    return Answer(
        {"stops": results.stopping_epochs(dataset)},
        {"stops": details.by_choice(dataset, "target_accuracy", final)},
        report.describe_stops(dataset),
    )


EXPERIMENT = Experiment(
    name="early_stopping",
    question="Can training stop before epoch 9 of 10?",
    preset="lab",
    axes={"target_accuracy": (0.85, 0.9, 0.95, float("inf"))},
    curves_by="target_accuracy",
    answer=answer,
)

if __name__ == "__main__":
    main(EXPERIMENT)
