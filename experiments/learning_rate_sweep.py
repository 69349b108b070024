"""Which learning rates are trainable, with scaled and unscaled pixels?

    python -m experiments.learning_rate_sweep --learning_rates=1e-1,1e-3,1e-5

18 runs of --preset=book (784-1000-10) under Adam: three minutes on two cores.
"""

from fmnist_jax.runner import Experiment, Figures, Job, Probes, Results, main


def probes(job: Job) -> Probes:
    """Histograms of the parameters after training."""
    from fmnist_jax.probes.histograms import parameter_probe

    return (parameter_probe(job.configs, when="end"),)


def figures(dataset: Results) -> Figures:
    """Parameters after training."""
    from fmnist_jax.figures import details

    names = {"w1": "W1", "b1": "b1", "w2": "W2", "b2": "b2"}
    return {"parameters": details.histograms(dataset, names)}


EXPERIMENT = Experiment(
    name="learning_rate_sweep",
    question="Which learning rates are trainable, with scaled and unscaled pixels?",
    preset="book",
    settings={"optimizer": "adam"},
    axes={"divisor": (1.0, 255.0), "learning_rate": (1e-1, 1e-3, 1e-5)},
    probes=probes,
    curves_by="learning_rate",
    final_by="learning_rate",
    figures=figures,
)

if __name__ == "__main__":
    main(EXPERIMENT)
