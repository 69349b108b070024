"""Is rescaling the first layer equivalent to scaling the pixels?

    python -m experiments.scale_equivalence

30 runs of --preset=lab (784-128-10): two minutes on two cores. The two runs of a pair
are equal bit for bit at 256, because float32 division by 256 is exact; at 255, training
amplifies rounding errors.
"""

from fmnist_jax.runner import Answer, Experiment, Results, main

# Learning rate, and powers of the divisor in the first kernel's learning rate and eps.
OPTIMIZERS = {"sgd": (1e-2, 2, 0), "adam": (1e-3, 1, 1)}


def rescaled_settings(
    optimizer: str, divisor: float, replaced_divisor: float = 1.0
) -> dict[str, object]:
    """Settings of a run whose rescaled first kernel replaces a divisor."""
    learning_rate, rate_power, eps_power = OPTIMIZERS[optimizer]
    run: dict[str, object] = {"optimizer": optimizer, "divisor": divisor}
    run["learning_rate"] = learning_rate
    run["first_kernel_scale"] = 1 / replaced_divisor
    run["first_kernel_rate"] = 1 / replaced_divisor**rate_power
    if eps_power:
        run["first_kernel_eps"] = replaced_divisor**eps_power
    return run


CASES = [(name, d) for name in OPTIMIZERS for d in (256.0, 255.0)]
SIDES = {f"{name} ÷1": rescaled_settings(name, 1.0) for name in OPTIMIZERS}
SIDES |= {f"{name} ÷{d:g}": rescaled_settings(name, d) for name, d in CASES}
SIDES |= {f"{name} ÷1 as ÷{d:g}": rescaled_settings(name, 1.0, d) for name, d in CASES}
RESCALED = {f"{name} ÷1 as ÷{d:g}": f"{name} ÷{d:g}" for name, d in CASES}


def answer(dataset: Results) -> Answer:
    """Both runs of each pair, and the difference of their losses in each epoch."""
    from fmnist_jax.analysis.rescaled import sentences, table
    from fmnist_jax.figures.rescaled import figure

    pairs = table(dataset, "side", RESCALED)
    figures = {"rescaled": figure(dataset, "side", RESCALED)}
    return Answer({"rescaled": pairs}, figures, sentences(pairs))


EXPERIMENT = Experiment(
    name="scale_equivalence",
    question="Is rescaling the first layer equivalent to scaling the pixels?",
    preset="lab",
    epochs=5,
    axes={"side": SIDES},
    rescaled=RESCALED,
    answer=answer,
)

if __name__ == "__main__":
    main(EXPERIMENT)
