"""Which normalization should I use?

    python -m experiments.normalization

1,870 one-epoch runs on 20,000 images: inputs × 17 learning rates × SGD and Adam × 5
seeds; ten minutes on two cores. Learning rates are chosen on 4,000 validation images.
"""

from fmnist_jax.choices import NORMALIZATIONS
from fmnist_jax.runner import Answer, Experiment, Results, main

D, REFERENCE, RESCALED = 255.0, "÷255", "raw pixels, rescaled first layer"
INPUTS: dict[str, dict[str, object]] = {
    "raw pixels": {"divisor": 1.0},
    REFERENCE: {"divisor": D},
    "÷1000": {"divisor": 1000.0},
    **{name: {"normalization": name} for name in NORMALIZATIONS if name != "none"},
    "raw pixels, batch norm": {"divisor": 1.0, "batch_norm": "on"},
    RESCALED: {"divisor": 1.0, "first_kernel_scale": 1 / D},
}
LEARNING_RATES = [float(f"{10 ** (k / 2):.3g}") for k in range(-14, 3)]
# What else a rescaled first layer needs to replace the divisor D.
ADAM = {"first_kernel_rate": 1 / D, "first_kernel_eps": D}
RESCALING = {"sgd": {"first_kernel_rate": 1 / D**2}, "adam": ADAM}
BUNDLES = {
    f"{name}: {label}": {"optimizer": name, **v, **(more if label == RESCALED else {})}
    for name, more in RESCALING.items()
    for label, v in INPUTS.items()
}


def answer(dataset: Results) -> Answer:
    """Windows of learning rates and accuracies, by input and optimizer."""
    from fmnist_jax.analysis.windows import sentences, table
    from fmnist_jax.figures.windows import figures

    rows = table(dataset, "input", REFERENCE)
    drawn = figures(dataset, "input", rows)
    return Answer({"windows": rows}, drawn, sentences(rows, "input", REFERENCE))


EXPERIMENT = Experiment(
    name="normalization",
    question="Which normalization should I use?",
    preset="lab",
    epochs=1,
    num_seeds=5,
    train_examples=24_000,
    validation_share=1 / 6,
    axes={"input": BUNDLES, "learning_rate": LEARNING_RATES},
    answer=answer,
)

if __name__ == "__main__":
    main(EXPERIMENT)
