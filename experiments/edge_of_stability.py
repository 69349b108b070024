"""Does the sharpness rise to 2/η during training?

    python -m experiments.edge_of_stability

Gradient descent on 500 images, in one batch and in batches of 32, with the largest
eigenvalue λ of the Hessian and the batch sharpness after each epoch: five minutes on
two cores. Both are computed from at most 2,000 images. Unscaled: --divisors=1
--learning_rates=1e-5,3e-5,1e-4.
"""

from fmnist_jax.runner import Answer, Experiment, Job, Probes, Results, main

ALL = 60_000  # one batch, capped at the number of images


def probes(job: Job) -> Probes:
    """The sharpness that decides stability; under gradient descent, of batches too."""
    from fmnist_jax import stability
    from fmnist_jax.probes import batch_sharpness, sharpness
    from fmnist_jax.sweeps import initial_sharpness

    optimizers = dict.fromkeys(config.optimizer for config in job.configs)
    for optimizer in optimizers:  # refuses one without a stability limit
        stability.stable_rate(optimizer, 1.0)
    if initial_sharpness.is_preconditioned(optimizers, job.axes, job.hparams):
        return [sharpness.preconditioned_sharpness_probe("epoch")]
    return [sharpness.sharpness_probe("epoch"), batch_sharpness.batch_sharpness_probe()]


def answer(dataset: Results) -> Answer:
    """Sharpness and its edge: each run's distance at the start and at the end."""
    from fmnist_jax.analysis.edge import sentences, table
    from fmnist_jax.figures.edge import figure

    edge = table(dataset)
    return Answer({"edge": edge}, {"edge": figure(dataset)}, sentences(edge))


EXPERIMENT = Experiment(
    name="edge_of_stability",
    question="Does the sharpness rise to 2/η during training?",
    axes={
        "divisor": (255.0,),
        "batch_size": (ALL, 32),
        "learning_rate": (0.03, 0.1, 0.3),
    },
    settings={"optimizer": "sgd", "loss": "softmax", "evaluate_train": False},
    epochs=60,
    train_examples=500,
    probes=probes,
    curves_by="learning_rate",
    answer=answer,
)

if __name__ == "__main__":
    main(EXPERIMENT)
