"""Is saturation the reason why training on unscaled inputs fails?

    python -m experiments.sigmoid_saturation

Tables of the sigmoid, and the saturation of networks without one: about a minute.
"""

from fmnist_jax.runner import Answer, Experiment, Job, Probes, Results, main


def probes(job: Job) -> Probes:
    """The saturation after each epoch."""
    from fmnist_jax.probes.health import saturation
    from fmnist_jax.probes.probe import Probe

    return [Probe(saturation, examples=1000)]


def answer(dataset: Results) -> Answer:
    """Tables of the sigmoid, and saturated shares of the trained networks."""
    from fmnist_jax.analysis.saturation import sentences, tables
    from fmnist_jax.figures.saturation import figures

    return Answer(tables(dataset), figures(dataset), sentences(dataset))


EXPERIMENT = Experiment(
    name="sigmoid_saturation",
    question="Is saturation the reason why training on unscaled inputs fails?",
    axes={"divisor": (1.0, 255.0, 1000.0), "loss": ("clipped", "softmax")},
    probes=probes,
    answer=answer,
)

if __name__ == "__main__":
    main(EXPERIMENT)
