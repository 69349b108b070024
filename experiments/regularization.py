"""What do L1, L2 and weight decay do?

    python -m experiments.regularization

24 runs of --preset=book (784-1000-10) under Adam, 10 epochs (published: --epochs=30):
eight minutes on two cores.
"""

from typing import Any

from fmnist_jax.runner import Experiment, Figures, Job, Probes, Results, main

PENALTIES: dict[str, dict[str, Any]] = {
    "none": {},
    "L1": {"l1": 1e-4},
    "L1 without biases": {"l1": 1e-4, "penalized": "kernels"},
    "L2 norm": {"l2": 1e-2},
    "L2 norm without biases": {"l2": 1e-2, "penalized": "kernels"},
    "L2 squared": {"l2_squared": 1e-2},
    "L2 squared without biases": {"l2_squared": 1e-2, "penalized": "kernels"},
    "weight decay": {"optimizer": "adamw", "weight_decay": 1e-2},
}


def probes(job: Job) -> Probes:
    """The share of weights near zero."""
    from fmnist_jax.probes.histograms import near_zero_probe

    return (near_zero_probe(),)


def figures(dataset: Results) -> Figures:
    """The effect of each penalty on accuracy, gap and weights."""
    from fmnist_jax.analysis import results
    from fmnist_jax.figures import details

    final = ["test_accuracy", "accuracy_gap", "near_zero_share"]
    return {"final": details.by_choice(results.with_gap(dataset), "penalty", final)}


EXPERIMENT = Experiment(
    name="regularization",
    question="What do L1, L2 and weight decay do?",
    preset="book",
    settings={"optimizer": "adam", "learning_rate": 1e-3},
    epochs=10,
    axes={"penalty": PENALTIES},
    probes=probes,
    curves_by="penalty",
    figures=figures,
)

if __name__ == "__main__":
    main(EXPERIMENT)
