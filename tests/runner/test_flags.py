"""Flags of the command line: hints, switches and help."""

from pathlib import Path

import numpy as np
import pytest

from experiments.__main__ import find_experiments
from experiments.scale_sweep import EXPERIMENT
from fmnist_jax.config import SETTINGS
from fmnist_jax.data import loading
from fmnist_jax.errors import UserError
from fmnist_jax.runner import flag_table, flags, rebuilt
from fmnist_jax.runner.help import help_text
from tests.command_lines import options


def test_the_library_name_of_a_setting_hints_at_its_flag() -> None:
    hints = {name: s.flag for name, s in SETTINGS.items()}
    hints |= {"num_epochs": "epochs", "seed": "num_seeds", "seeds": "num_seeds"}
    hints |= {"lr": "learning_rates", "outdir": "out_dir"}
    for name, flag in hints.items():
        if name == flag or name in flag_table.FLAGS:
            continue
        with pytest.raises(UserError) as caught:
            flags.parse(["program", f"--{name}=1"])
        hint = f" Did you mean --{flag}?" if flag else ""
        assert str(caught.value).startswith(f"Unknown flag --{name}.{hint} --help")


@pytest.mark.parametrize("value", ["no", "false", "true", "0", ""])
def test_switches_take_no_value(value: str) -> None:
    for name in ("dry_run", "overwrite", "help"):
        message = f"--{name} is a switch: give it without a value, or leave it out"
        with pytest.raises(UserError, match=message):
            flags.parse(["program", f"--{name}={value}"])
    options = flags.parse(["program", "--data_dir", "dry_run=no", "--nooverwrite"])
    assert (options["data_dir"], options["overwrite"]) == ("dry_run=no", False)


def test_help_lists_settings_then_common_flags_then_sharing() -> None:
    text = help_text(EXPERIMENT)
    flags_in_order = "learning_rates preset epochs data_dir out_dir dry_run num_shards"
    flags_in_order += " shard_index help"
    positions = [text.index(f"  --{name} ") for name in flags_in_order.split()]
    assert positions == sorted(positions)
    words = " ".join(text.split())
    assert "Defaults are this experiment's, with --preset=keras." in words
    assert "(default: 0.9 for momentum, nesterov)" in words
    assert "(default: 0 for plateau, cosine)" in words
    assert (
        "losses loss function; one of softmax, clipped (in Python, also a function) "
        "(default: clipped,soft" in words
    )


@pytest.mark.parametrize("name", ["scale_sweep", "trainability_map", "data_checks"])
def test_help_lists_each_used_flag_once(name: str) -> None:
    experiment = find_experiments()[name]
    text = help_text(experiment)
    used = [flag.name for flag in flag_table.flags_of(experiment)]
    listed = [line.split()[0] for line in text.splitlines() if line.startswith("  --")]
    assert listed == [f"--{name}" for name in used]
    assert ("zoom" in used, "epochs" in used) == (
        name == "trainability_map",
        name != "data_checks",
    )


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,255,1000", (1.0, 255.0, 1000.0)),
        ("0.5", (0.5,)),
        ("1e-2:1e2:5", (1e-2, 1e-1, 1.0, 1e1, 1e2)),
        ("7,1:1e2:3", (7.0, 1.0, 10.0, 100.0)),
        (" 1 , 2", (1.0, 2.0)),
        ("3:9:1", (3.0,)),
    ],
)
def test_lists_of_numbers(text: str, values: tuple[float, ...]) -> None:
    assert options(f"--divisors={text}")["settings"]["divisor"] == values


def test_log_spaced_lists_equal_those_of_numpy() -> None:
    values = options("--learning_rates=1e-5:1:16")["settings"]["learning_rate"]
    np.testing.assert_allclose(values, np.logspace(-5, 0, 16), rtol=1e-11)


def test_other_lists() -> None:
    settings = options("--hidden_sizes=none,128,1000x10", "--batch_sizes", "32,64",
                    "--optimizers=sgd,adam")["settings"]  # fmt: skip
    assert settings == {
        "hidden_sizes": ((), (128,), (1000, 10)),
        "batch_size": (32, 64),
        "optimizer": ("sgd", "adam"),
    }


def test_commands_are_rebuilt_with_the_same_meaning() -> None:
    """The argument after a flag without a value is its value, whatever it is."""
    for argv in (["--out_dir", "-x", "--epochs", "2"], ["-epochs", "2", "--out_dir=y"],
                 ["--epochs", "2", "--out_dir", "--overwrite", "--"]):  # fmt: skip
        assert options(*argv)["epochs"] == 2
        assert not options(*argv)["overwrite"]
        given = options(*argv)["given"]
        line = rebuilt.command([EXPERIMENT], given, Path("-x"))
        assert line == "python -m experiments.scale_sweep --epochs=2 --out_dir=-x"
        assert rebuilt.arguments(given, without=["epochs"]) == []


def test_the_help_of_dataset_names_every_data_format() -> None:
    assert all(name in flag_table.FLAGS["dataset"].help for name in loading.NAMES)
