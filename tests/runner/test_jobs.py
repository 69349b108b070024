"""From flags, presets and an experiment's settings to the runs of a job."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.__main__ import find_experiments
from experiments.normalization import EXPERIMENT as NORMALIZATION
from experiments.scale_sweep import EXPERIMENT
from experiments.trainability_map import EXPERIMENT as TRAINABILITY_MAP
from fmnist_jax.analysis import results
from fmnist_jax.data import Data, Dataset, load
from fmnist_jax.errors import UserError
from fmnist_jax.runner import command_line, fitting, flags, jobs
from fmnist_jax.sweeps.sweep import sweep
from tests.command_lines import options


def test_flags_override_axes_and_axes_override_the_preset() -> None:
    job = jobs.make_job(EXPERIMENT, options("--preset=book", "--divisors=7"))
    assert job.axes["divisor"] == (7.0,)  # an axis even with one value
    assert job.axes["loss"] == ("clipped", "softmax")  # overrides softmax of the preset
    assert list(job.axes) == ["divisor", "loss", "seed"]
    assert job.config.hidden_sizes == (1000,)
    assert job.config.optimizer == "sgd"
    assert job.hparams.learning_rate == 1e-2
    job = jobs.make_job(
        EXPERIMENT,
        options(
            "--learning_rates=1,2",
            "--optimizers=rmsprop",
            "--epochs=3",
            "--num_seeds=4",
            "--eps=1e-3",
        ),
    )
    assert list(job.axes) == ["divisor", "loss", "learning_rate", "seed"]
    assert job.config.optimizer == "rmsprop"
    assert job.config.num_epochs == 3
    assert job.axes["seed"] == range(4)
    assert job.hparams.eps == 1e-3


@pytest.mark.slow
def test_every_setting_reaches_the_results(tmp_path: Path) -> None:
    arguments = [
        "--divisors=255", "--losses=softmax", "--hidden_sizes=4", "--optimizers=sgd",
        "--dropout_rates=0,.25", "--target_accuracies=.8,inf", "--schedules=plateau",
        "--plateau_patiences=0", "--batch_norms=frozen", "--penalized=kernels",
        "--l1s=1e-4", "--orders=file", "--epochs=2", "--num_seeds=1",
    ]  # fmt: skip
    job = jobs.make_job(EXPERIMENT, options(*arguments))
    data = load("synthetic", train_examples=64, test_examples=50)
    dataset = sweep(job.axes, data, job.config, job.hparams)
    results.save(dataset, tmp_path, {})
    dataset = results.load(tmp_path)
    coordinates = {name: dataset[name].values.tolist() for name in dataset.coords}
    assert coordinates == {
        "divisor": [255], "loss": ["softmax"], "dropout_rate": [0, 0.25],
        "normalization": "none", "offset": 0.0,
        "target_accuracy": [0.8, np.inf], "batch_norm": "frozen", "seed": [0],
        "epoch": [1, 2], "hidden_sizes": "4", "optimizer": "sgd", "learning_rate": 1e-3,
        "schedule": "plateau", "plateau_patience": 0, "plateau_factor": 0.1,
        "plateau_threshold": 1e-4, "min_learning_rate": 0, "penalized": "kernels",
        "l1": 1e-4, "l2": 0, "l2_squared": 0, "order": "file", "initializer": "keras",
        "batch_size": 32, "num_epochs": 2, "evaluate_train": "True",
        "record_every": 0,
        "evaluate_dropout": "False", "precision": "float32", "first_kernel_scale": 1,
        "first_kernel_rate": 1,
    }  # fmt: skip
    assert np.isfinite(dataset.test_loss).all()
    assert (dataset.train_penalty > 0).all()
    assert dataset.stopped_epoch.dims == dataset.status.dims


def test_default_batch_sizes_are_capped_with_a_notice() -> None:
    job = jobs.make_job(EXPERIMENT, options())
    capped = fitting._cap_batch_sizes(job, 20)
    assert capped.config.batch_size == 20
    assert "capped at the 20" in capped.notices[0]
    assert fitting._cap_batch_sizes(job, 32) is job
    axis = jobs.make_job(EXPERIMENT, {**options(), "settings": {}})
    axis = dataclasses.replace(axis, axes={"batch_size": (8, 32, 99)})
    assert fitting._cap_batch_sizes(axis, 20).axes["batch_size"] == (8, 20)
    job = jobs.make_job(EXPERIMENT, options("--batch_sizes=21"))
    with pytest.raises(UserError, match="larger than the training set"):
        fitting._cap_batch_sizes(job, 20)


def test_a_flag_for_a_setting_of_the_bundles_is_refused() -> None:
    regularization = find_experiments()["regularization"]
    with pytest.raises(UserError, match=r"--l1s: .* compares fixed settings"):
        jobs.make_job(regularization, options("--l1s=1e-3"))
    job = jobs.make_job(regularization, options("--learning_rates=.5"))
    assert job.hparams.learning_rate == 0.5
    assert [*job.axes["penalty"]][:2] == ["none", "L1"]
    assert job.axes["penalty"]["L1"] == {"l1": 1e-4}


def test_the_dataset_flag_replaces_the_compared_data_sets() -> None:
    mixup = find_experiments()["dataset_mixup"]
    assert jobs.make_job(mixup, options()).datasets == ("mnist", "fashion_mnist")
    one = jobs.make_job(mixup, options("--dataset=synthetic"))
    assert one.datasets == ("synthetic",)


def test_settings_of_an_experiment_override_the_preset_but_not_flags() -> None:
    annealing = find_experiments()["annealing"]
    job = jobs.make_job(annealing, options("--preset=keras"))
    assert job.config.num_epochs == 30
    assert job.hparams.plateau_factor == 0.5
    arguments = options("--plateau_factors=.1", "--epochs=4")
    job = jobs.make_job(annealing, arguments)
    assert (job.config.num_epochs, job.hparams.plateau_factor) == (4, 0.1)


@pytest.mark.slow
def test_held_out_examples_reach_the_results_and_the_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *("--dataset=synthetic", "--train_examples=300", "--test_examples=50"),
        *("--validation_examples=60", "--divisors=1,255", "--losses=softmax"),
        *("--hidden_sizes=4", "--epochs=1", "--num_seeds=2", f"--out_dir={tmp_path}"),
    ]
    command_line.execute([EXPERIMENT], ["scale_sweep", *arguments])
    dataset = results.load(tmp_path)
    assert dataset.attrs["train_examples"] == 240
    assert dataset.attrs["validation_examples"] == 60
    counts = dataset.validation_accuracy.values * 60
    np.testing.assert_allclose(counts, counts.round(), atol=1e-4)
    assert "Best validation accuracy: " in capsys.readouterr().out
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings["datasets"][0]["validation_examples"] == 60
    with pytest.raises(UserError, match="300 validation examples of 300 training"):
        fitting.select_data(
            jobs.make_job(EXPERIMENT, options("--validation_examples=300")),
            {"auto": load("synthetic", train_examples=300, test_examples=10)},
        )


def test_another_criterion_is_another_fingerprint(tmp_path: Path) -> None:
    """Otherwise a finished map would be taken for the answer by the new criterion."""

    def fingerprint(*arguments: str) -> str:
        parsed = flags.parse(["program", *arguments], [TRAINABILITY_MAP])
        job = jobs.make_job(TRAINABILITY_MAP, parsed)
        data = (load("synthetic", train_examples=20, test_examples=10),)
        return jobs.Task(job, data, tmp_path, (), "", "").fingerprint

    assert fingerprint() == fingerprint()
    assert fingerprint() != fingerprint("--criterion=accuracy>=0.7")


def normalization_job(*arguments: str) -> jobs.Job:
    parsed = flags.parse(["program", *arguments], [NORMALIZATION])
    return jobs.make_job(NORMALIZATION, parsed)


@pytest.mark.parametrize(
    ("shape", "left_out"),
    [
        ((4, 4), ["per_channel: the images have no channels"]),
        ((4, 4, 1), ["per_channel: the images have no channels"]),
        ((4, 4, 3), []),
        ((9,), ["per_channel: the rows have no channels"]),
        ((40, 40, 3), ["whiten: an image has more than 4,096 pixels"]),
    ],
)
def test_bundles_that_the_data_cannot_have_are_left_out(
    shape: tuple[int, ...], left_out: list[str]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, *shape), dtype=np.uint8)
    dataset = Dataset(images, np.arange(30) % 3)
    job = normalization_job()
    fitted = fitting.leave_out_bundles(job, {"auto": Data(dataset, dataset)})
    names = {f"{o}: {text.split(':')[0]}" for o in ("sgd", "adam") for text in left_out}
    expected = [label for label in job.axes["input"] if label not in names]
    assert [*fitted.axes["input"]] == expected
    texts = [f"{text.replace(':', ' is left out:')}." for text in left_out]
    assert list(fitted.notices) == texts


def test_an_experiment_holds_out_its_share_unless_the_flag_is_given() -> None:
    data = {"auto": load("synthetic", train_examples=120, test_examples=10)}
    for arguments, expected in ((), 20), (("--validation_examples=30",), 30):
        (chosen, *_) = fitting.select_data(normalization_job(*arguments), data)
        assert chosen.validation is not None
        assert len(chosen.validation.labels) == expected
        assert len(chosen.train.labels) == 120 - expected
    (chosen, *_) = fitting.select_data(jobs.make_job(EXPERIMENT, options()), data)
    assert chosen.validation is None
    few = {"auto": load("synthetic", train_examples=5, test_examples=10)}
    with pytest.raises(
        UserError, match=r"5 training examples are too few to hold 0\.17 of"
    ):
        fitting.select_data(normalization_job(), few)


def test_a_validation_set_of_the_data_is_used() -> None:
    """By every experiment; only the flag would take a second one."""
    whole = load("synthetic", train_examples=120, test_examples=10)
    data = {"auto": whole.with_validation(30)}
    for job in (normalization_job(), jobs.make_job(EXPERIMENT, options())):
        (chosen, *_) = fitting.select_data(job, data)
        assert chosen.fingerprint == data["auto"].fingerprint
    with pytest.raises(UserError, match="has a validation set already"):
        fitting.select_data(normalization_job("--validation_examples=5"), data)


def test_settings_of_the_preset_that_no_run_reads_are_dropped() -> None:
    # The preset sets epsilon, which SGD does not read.
    for arguments, eps in (("--optimizers=sgd", None), ("--optimizers=sgd,adam", 1e-7)):
        job = jobs.make_job(EXPERIMENT, options("--preset=keras", arguments))
        assert job.hparams.eps == eps
        assert job.config.hidden_sizes == (128,)


@pytest.mark.parametrize("flag", ["--momenta=0.5", "--penalized=kernels", "--eps=1"])
def test_a_given_setting_that_no_run_reads_is_refused(flag: str) -> None:
    name = {"--momenta=0.5": "momentum"}.get(flag, flag[2:].split("=")[0])
    optimizer = "sgd" if name == "eps" else "adam"
    with pytest.raises(UserError, match=f"^{name}.* has no effect here"):
        jobs.make_job(
            EXPERIMENT, options("--preset=keras", f"--optimizers={optimizer}", flag)
        )
