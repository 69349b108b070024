"""``--zip`` and ``--sample`` on command lines."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.__main__ import find_experiments
from experiments.scale_sweep import EXPERIMENT
from fmnist_jax.analysis import results
from fmnist_jax.config import TRACED
from fmnist_jax.errors import UserError
from fmnist_jax.runner import command_line, flags, jobs
from fmnist_jax.runner.experiment import Job
from fmnist_jax.search.sampling import sample_points

SMALL = [
    *("--dataset=synthetic", "--train_examples=200", "--test_examples=50"),
    *("--epochs=2", "--num_seeds=2", "--hidden_sizes=6"),
]


def job(*arguments: str, name: str = "scale_sweep") -> Job:
    experiment = find_experiments()[name]
    return jobs.make_job(experiment, flags.parse([name, *arguments], [experiment]))


def run(out_dir: Path, *arguments: str) -> None:
    argv = ["scale_sweep", *SMALL, *arguments, f"--out_dir={out_dir}"]
    command_line.execute([EXPERIMENT], argv)


def test_zip_pairs_the_values_of_its_settings() -> None:
    zipped = job(
        "--zip=divisors,learning_rates", "--divisors=1,255", "--learning_rates=.1,.2"
    )
    assert zipped.axes["combination"] == {
        "÷1 & 0.1": {"divisor": 1.0, "learning_rate": 0.1},
        "÷255 & 0.2": {"divisor": 255.0, "learning_rate": 0.2},
    }
    assert [*zipped.axes] == ["combination", "loss", "seed"]
    assert len(zipped.configs) == 2
    (line,) = zipped.notices
    assert "need a separate axis" in line
    names = "--zip=optimizers,hidden_sizes,learning_rates"
    given = ["--optimizers=sgd,adam", "--hidden_sizes=none,8x8", "--learning_rates=1,2"]
    several = job(names, *given)
    assert [*several.axes["combination"]] == ["sgd & none & 1", "adam & 8x8 & 2"]
    assert not several.notices  # the experiment has its own axes


def test_sampled_points_are_those_of_the_library() -> None:
    spans = ["--divisors=1:1e5", "--learning_rates=1e-5:1"]
    sampled = job(*spans, "--sample=9", "--sample_seed=3", "--optimizers=sgd,adam")
    points = [*sampled.axes["point"].values()]
    box = {"divisor": (1.0, 1e5), "learning_rate": (1e-5, 1.0)}
    assert points == sample_points(box, 9, 3)
    assert [*sampled.axes] == ["point", "loss", "optimizer", "seed"]
    both = job(*spans, "--sample=9", "--zip=b1s,b2s", "--b1s=.8,.9", "--b2s=.9,.99")
    assert [len(both.axes[name]) for name in ("point", "combination")] == [9, 2]


@pytest.mark.slow
def test_points_are_trained_saved_and_drawn(tmp_path: Path) -> None:
    arguments = ["--divisors=1:1e5", "--learning_rates=1e-5:1", "--sample=12"]
    run(tmp_path / "sampled", *arguments, "--losses=softmax")
    dataset = results.load(tmp_path / "sampled")
    assert dataset.status.dims == ("point", "loss", "seed")
    expected = sample_points({"divisor": (1, 1e5), "learning_rate": (1e-5, 1)}, 12)
    for name in ("divisor", "learning_rate"):
        assert dataset[name].dims == ("point",)
        np.testing.assert_array_equal(dataset[name], [p[name] for p in expected])
    assert (tmp_path / "sampled" / "points.png").exists()
    summary = pd.read_csv(tmp_path / "sampled" / "summary.csv")
    np.testing.assert_array_equal(summary["divisor"], [p["divisor"] for p in expected])

    # The same run as that of a grid, in batches of the same width.
    values = [f"--divisors={expected[0]['divisor']}"]
    values += [f"--learning_rates={expected[0]['learning_rate']}"]
    run(tmp_path / "alone", *values, "--losses=softmax")
    alone = results.load(tmp_path / "alone").test_loss.squeeze(["divisor", "loss"])
    sampled = dataset.test_loss.isel(point=0, loss=0)
    np.testing.assert_allclose(sampled.values, alone.values, rtol=2e-5)

    paired = ["--divisors=1,255", "--learning_rates=.001,.01"]
    run(tmp_path / "zip", *paired, "--zip=divisors,learning_rates")
    drawn = sorted(path.name for path in (tmp_path / "zip").glob("*.png"))
    assert drawn == ["combinations.png", "curves.png"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--divisors=1:9"], "--divisors=1:9 has no number of values: give start"),
        (["--divisors=1:9,20", "--sample=3"], "must be the only value of its flag"),
        (["--divisors=20,1:9", "--sample=3"], "must be the only value of its flag"),
        (["--divisors=20,1:9"], "--divisors=1:9 has no number of values"),
        (["--divisors=9:1", "--sample=3"], "a minimum and a larger maximum"),
        (["--divisors=1:x", "--sample=3"], "--divisors: 'x' is not allowed"),
        (["--divisors=1:9,1:9", "--sample=3"], "has 1:9 twice"),
        (["--sample=3"], "--sample has no effect: no setting is given as start:stop"),
        (["--sample_seed=3"], "--sample_seed has no effect"),
        (["--sample=0"], "--sample: '0' is not allowed"),
        (["--zip=divisors"], "at least two different flags"),
        (["--zip=divisors,divisors"], "at least two different flags"),
        (["--zip=divisors,epochs"], "flag of a setting in --zip 'epochs'"),
        (["--zip=divisors,learning_rates"], "give --learning_rates a list of values"),
        (["--zip=divisors,losses"], "3 of divisors, 2 of losses; give equally many"),
        (
            ["--zip=divisors,losses", "--divisors=1:9", "--sample=3"],
            "give --divisors a list of values",
        ),
    ],
)
def test_mistakes_are_explained(arguments: list[str], line: str) -> None:
    with pytest.raises(UserError, match=line):
        job(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--zip=divisors,learning_rates"],
        ["--sample=9", "--divisors=1:9"],
        ["--divisors=1:9"],
        ["--learning_rates=1:9"],
    ],
)
def test_a_map_takes_no_points(arguments: list[str]) -> None:
    with pytest.raises(UserError, match=r"needs a separate axis|give start:stop:count"):
        job(*arguments, name="trainability_map")


def test_every_traced_setting_with_a_flag_takes_a_span() -> None:
    for name, setting in TRACED.items():
        low, high = setting.span or (0, 1)
        if not all(map(setting.value_type.accepts, (low, high))):
            low = 0.5
        options = flags.parse(["x", f"--{setting.flag}={low}:{high}", "--sample=2"])
        assert options["settings"][name] == ((low, high),)
        assert len(sample_points({name: (low, high)}, 2)) == 2
