"""Is the data set shuffled, split, scaled and balanced?

    python -m experiments.data_checks --dataset=mnist

Nothing is trained. It takes a few seconds on any data set that the loader reads.
"""

from fmnist_jax.runner import Answer, Data, Experiment, main


def answer(data: Data) -> Answer:
    """Tables of counts, pixels, copies and order; sample images and distributions."""
    from fmnist_jax.analysis import survey
    from fmnist_jax.figures import data_set

    tables = survey.tables(data)
    figures = {
        "samples": data_set.samples(data),
        "distributions": data_set.distributions(data),
    }
    return Answer(tables, figures, survey.sentences(tables, survey.notices(data)))


EXPERIMENT = Experiment(
    name="data_checks",
    question="Is the data set shuffled, split, scaled and balanced?",
    axes=None,
    answer=answer,
)

if __name__ == "__main__":
    main(EXPERIMENT)
