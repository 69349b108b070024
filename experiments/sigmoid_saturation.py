"""Is saturation the reason why unscaled inputs train badly?

    python -m experiments.sigmoid_saturation

Tables of the sigmoid, and what saturates in networks that have none: about a minute.
"""

from experiments.common import Answer, Experiment, Plans, Probes, Results, main


def probes(plans: Plans) -> Probes:
    """What is saturated after each epoch."""
    from fmnist_jax.diagnostics import Probe, saturation

    return [Probe(saturation, examples=1000)]


def answer(dataset: Results) -> Answer:
    """The sigmoid itself, and shares of the trained networks."""
    from fmnist_jax.saturation import figures, sentences, tables

    return Answer(tables(dataset), figures(dataset), sentences(dataset))


EXPERIMENT = Experiment(
    name="sigmoid_saturation",
    question="Is saturation the reason why unscaled inputs train badly?",
    axes={"divisor": (1.0, 255.0, 1000.0), "loss": ("clipped", "softmax")},
    probes=probes,
    answer=answer,
)

if __name__ == "__main__":
    main(EXPERIMENT)
