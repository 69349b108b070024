"""Which input scales and learning rates train, and does theory predict it?

    python -m experiments.trainability_map

A map of 24 divisors × 24 learning rates, SGD, one epoch of 20,000 images: a minute on
two cores. --divisors=1e-2:1e6:256 --learning_rates=1e-9:1e3:256 gives a map for a GPU,
--zoom=1:1e3,1e-4:1 a smaller window.
"""

from fmnist_jax.runner import Answer, Data, Experiment, Figures, Plan, Results, main


def beside(plan: Plan, data: Data) -> Results:
    """The sharpness at initialisation, and the learning rates that it calls stable."""
    from fmnist_jax.sweeps import initial_sharpness

    return initial_sharpness.stable_rates(plan, data)


def figures(dataset: Results) -> Figures:
    """Loss, accuracy and status over the plane, with the lines of the theory."""
    from experiments.reproduction.configurations import points
    from fmnist_jax.figures import maps, trainability

    return {**maps.maps(dataset, points()), **trainability.trainable_ranges(dataset)}


def answer(dataset: Results) -> Answer:
    """The learning rates that train, and those that are stable in theory."""
    from fmnist_jax.analysis import trainability

    table = trainability.trainable_range(dataset)
    tables = {} if table.empty else {"rates": table}
    return Answer(tables, sentences=trainability.sentences(dataset, table))


EXPERIMENT = Experiment(
    name="trainability_map",
    question="Which input scales and learning rates train, and does theory predict it?",
    preset="lab",
    settings={"optimizer": "sgd"},
    epochs=1,
    num_seeds=1,
    train_examples=20_000,
    axes={},
    plane=("divisor", "learning_rate"),
    beside=beside,
    figures=figures,
    answer=answer,
)

if __name__ == "__main__":
    main(EXPERIMENT)
