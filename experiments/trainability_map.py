"""Does theory predict which input scales and learning rates are trainable?

    python -m experiments.trainability_map

A map of 24 divisors × 24 learning rates, SGD, one epoch of 20,000 images: a minute on
two cores. --zoom=1:1e3,1e-4:1 draws a smaller window. --refine=256 draws a finer map,
of which only the points along boundaries are trained.
"""

from fmnist_jax.runner import Answer, Data, Experiment, Plan, Results, main


def extra_measurements(plan: Plan, data: Data) -> Results:
    """Initial sharpness, and the learning rates that are stable by theory."""
    from fmnist_jax.sweeps import initial_sharpness

    stable = initial_sharpness.stable_rates(plan, data)
    return stable.merge(initial_sharpness.activation_stable_rates(plan, data))


def answer(dataset: Results) -> Answer:
    """Maps, and the trainable and the theoretically stable learning rates."""
    from experiments.reproduction.configurations import published_settings
    from fmnist_jax.analysis import trainability
    from fmnist_jax.figures.maps import maps, trained_points
    from fmnist_jax.figures.trainability import trainable_ranges

    criterion = dataset.attrs["criterion"]
    table = trainability.trainable_range(dataset, criterion)
    tables = {"rates": table, "criteria": trainability.by_criterion(dataset)}
    figures = maps(dataset, published_settings(), criterion)
    figures |= {**trainable_ranges(dataset, criterion), **trained_points(dataset)}
    sentences = trainability.sentences(dataset, table, criterion)
    return Answer({} if table.empty else tables, figures, sentences)


EXPERIMENT = Experiment(
    name="trainability_map",
    question="Does theory predict which input scales and learning rates are trainable?",
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
