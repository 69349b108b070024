"""fmnist_jax: a sweep over seeds."""

import time

from benchmarks.jobs import DIVISOR, Job, Timed
from fmnist_jax import Config, Data, Dataset, Hparams
from fmnist_jax.devices import use_cpu_cores

TEST_EXAMPLES = 500  # evaluated after each epoch; the time counts


def sweep(job: Job) -> dict[str, Timed]:
    """Returns a function that times the second epoch of a sweep, group by group.

    The first epoch of a group is not timed, as it compiles or starts the group. The
    time of the second includes shuffling and the evaluation of 500 test images.
    """
    use_cpu_cores()
    from fmnist_jax.sweeps.engine import plan_for_local_devices, run_groups

    images, labels = job.uint8()
    test = Dataset(images[:TEST_EXAMPLES], labels[:TEST_EXAMPLES])
    classes = tuple("0123456789")
    data = Data(Dataset(images, labels), test, "benchmark", classes)
    config = Config(
        hidden_sizes=(job.width,), optimizer=job.optimizer, num_epochs=2,
        evaluate_train=False,
    )  # fmt: skip
    hparams = Hparams(divisor=DIVISOR, learning_rate=job.learning_rate)
    plan = plan_for_local_devices({"seed": range(job.runs)}, data, config, hparams)

    def seconds(steps: int) -> float:
        total, epochs, last = 0.0, 0, time.perf_counter()
        for part in run_groups(plan, data):
            now = time.perf_counter()
            if part.epoch is not None and part.epoch > 1:
                total, epochs = total + now - last, epochs + 1
            last = now
        if epochs != len(plan.groups) or steps != job.steps:
            raise RuntimeError("A group's second epoch was not timed.")
        return total

    return {f"groups of {plan.groups[0].width * plan.num_devices}": seconds}
