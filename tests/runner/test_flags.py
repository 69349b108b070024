"""What the command line says of its flags: hints, switches, help."""

import pytest

from experiments.scale_sweep import EXPERIMENT
from fmnist_jax.config import SETTINGS
from fmnist_jax.errors import UserError
from fmnist_jax.runner import flags
from fmnist_jax.runner.help import help_text


def test_a_setting_by_the_librarys_name_gets_its_flag() -> None:
    meant = {name: s.flag for name, s in SETTINGS.items()}
    meant |= {"num_epochs": "epochs", "seed": "num_seeds", "seeds": "num_seeds"}
    meant |= {"lr": "learning_rates", "outdir": "out_dir"}
    for name, flag in meant.items():
        if name == flag:
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
    given = flags.parse(["program", "--data_dir", "dry_run=no", "--nooverwrite"])
    assert (given["data_dir"], given["overwrite"]) == ("dry_run=no", False)


def test_help_goes_from_what_to_run_to_how_it_is_shared() -> None:
    said = help_text(EXPERIMENT)
    order = ("learning_rates", "preset", "epochs", "data_dir", "out_dir", "dry_run",
             "num_shards", "shard_index", "distributed", "process_id")  # fmt: skip
    places = [said.index(f"  --{name} ") for name in order]
    assert places == sorted(places)
    plain = " ".join(said.split())
    assert "Defaults are this experiment's, with --preset=keras." in plain
    assert "(default: momentum 0.9, nesterov 0.9)" in plain
    assert "(default: plateau 0, cosine 0)" in plain
