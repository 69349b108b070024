"""Do unscaled pixels train as well, once the first layer makes up for it?

    python -m experiments.scale_equivalence

30 runs of the lab's network: two minutes on two cores. Dividing by 256 is exact in
float32, so that twins agree to the bit; by 255 it is not, and SGD makes more of it.
"""

from typing import Any

from fmnist_jax.runner import Answer, Experiment, Figures, Results, main

# Learning rate; powers of the divisor in the rate and epsilon of the first kernel.
OPTIMIZERS = {"sgd": (1e-2, 2, 0), "adam": (1e-3, 1, 1)}
DIVISORS = (256.0, 255.0)


def side(optimizer: str, divisor: float, instead_of: float = 1.0) -> dict[str, Any]:
    """Settings of a run whose first kernel makes up for a divisor it is not given."""
    rate, of_rate, of_eps = OPTIMIZERS[optimizer]
    return {
        "optimizer": optimizer, "learning_rate": rate, "divisor": divisor,
        "first_kernel_scale": 1 / instead_of,
        "first_kernel_rate": 1 / instead_of**of_rate,
        "first_kernel_eps": instead_of**of_eps,
    }  # fmt: skip


PAIRS = [(name, d) for name in OPTIMIZERS for d in DIVISORS]
SIDES = {f"{name} ÷1": side(name, 1.0) for name in OPTIMIZERS}
SIDES |= {f"{name} ÷{d:g}": side(name, d) for name, d in PAIRS}
SIDES |= {f"{name} ÷1 as ÷{d:g}": side(name, 1.0, d) for name, d in PAIRS}
TWINS = {f"{name} ÷1 as ÷{d:g}": f"{name} ÷{d:g}" for name, d in PAIRS}


def figures(dataset: Results) -> Figures:
    """Learning curves, twins over each other, and how far they part."""
    from fmnist_jax.figures import rescaled

    return {"rescaled": rescaled.figure(dataset, "side", TWINS)}


def answer(dataset: Results) -> Answer:
    """How far twins part in each epoch."""
    from fmnist_jax.analysis import rescaled

    table = rescaled.table(dataset, "side", TWINS)
    return Answer({"rescaled": table}, sentences=rescaled.sentences(table))


EXPERIMENT = Experiment(
    name="scale_equivalence",
    question="Do unscaled pixels train as well, once the first layer makes up for it?",
    preset="lab", epochs=5, axes={}, variants={"side": SIDES},
    figures=figures, answer=answer,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
