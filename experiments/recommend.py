"""How should I scale my inputs, and which learning rate should I use?

    python -m experiments.recommend --dataset=my_table.csv

Answers for any data set and, with --model=module:factory, any network: scalings × SGD
and Adam × 23 learning rates by successive halving on a part of the training set, then
the four best on all of it, with five seeds. Fashion-MNIST: 1.5 minutes on two cores.
"""

import dataclasses

from fmnist_jax.runner import Answer, Data, Experiment, Job, Results, main
from fmnist_jax.search.candidates import AXES, NUM_SEEDS, VALIDATION_SHARE


def search(job: Job, data: Data) -> Job:
    """A search on a part of the data."""
    from fmnist_jax.search.recommending import prepared

    axes, config, stages = prepared(job.axes, data, job.config, job.hparams)
    return dataclasses.replace(job, axes=axes, config=config, search=stages)


def answer(dataset: Results) -> Answer:
    """The recommendation in words and in code, and the settings it was chosen from."""
    from fmnist_jax.analysis.recommendation import recommendation, table
    from fmnist_jax.figures.recommendation import figure

    advice = recommendation(dataset)
    code = [f"{name}: {'; '.join(lines)}" for name, lines in advice.code.items()]
    return Answer(
        {"finalists": table(dataset)},
        {"recommendation": figure(advice)},
        [*advice.sentences, *code],
        {"recommended": advice.settings},
    )


EXPERIMENT = Experiment(
    name="recommend",
    question="How should I scale my inputs, and which learning rate should I use?",
    preset="lab",
    epochs=5,
    num_seeds=NUM_SEEDS,
    axes=AXES,
    validation_share=VALIDATION_SHARE,
    search=search,
    answer=answer,
)

if __name__ == "__main__":
    main(EXPERIMENT)
