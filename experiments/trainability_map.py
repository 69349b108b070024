"""Which input scales and learning rates train, and does theory predict it?

    python -m experiments.trainability_map

A map of 24 divisors × 24 learning rates, SGD, one epoch of 20,000 images: a minute on
two cores. --divisors=1e-2:1e6:256 --learning_rates=1e-9:1e3:256 gives a map for a GPU,
--zoom=1:1e3,1e-4:1 a smaller window.
"""

from fmnist_jax.runner import Answer, Data, Experiment, Plan, Results, main


def extra_measurements(plan: Plan, data: Data) -> Results:
    """The sharpness at initialisation, and the learning rates that it calls stable."""
    from fmnist_jax.sweeps import initial_sharpness

    return initial_sharpness.stable_rates(plan, data)


def answer(dataset: Results) -> Answer:
    """Maps, and the learning rates that train and that are stable in theory."""
    from experiments.reproduction.configurations import points
    from fmnist_jax.analysis import trainability
    from fmnist_jax.figures.maps import maps
    from fmnist_jax.figures.trainability import trainable_ranges

    table = trainability.trainable_range(dataset)
    tables = {} if table.empty else {"rates": table}
    figures = {**maps(dataset, points()), **trainable_ranges(dataset)}
    return Answer(tables, figures, trainability.sentences(dataset, table))


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
    extra_measurements=extra_measurements,
    answer=answer,
)

if __name__ == "__main__":
    main(EXPERIMENT)
