"""The flags of the command line, and their values."""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags

from fmnist_jax.config import PRESETS, SETTINGS
from fmnist_jax.errors import UserError
from fmnist_jax.runner.experiment import Experiment
from fmnist_jax.runner.flag_values import parse_list, parse_value
from fmnist_jax.values import (
    BELOW_1,
    COUNT,
    CRITERION,
    KEEP_STATES,
    SEED,
    SUBSET,
    SWITCH,
    ValueType,
    integer,
)

TEXT = ValueType("a string")
Given = Mapping[str, Any]  # texts of flags, in the order typed; True for a switch


class Flag(NamedTuple):
    """A flag of the command line."""

    name: str  # without dashes
    value_type: ValueType  # SWITCH for a flag without a value
    help: str
    used_by: str = "all"  # or "training", "shards" or "maps"
    setting: str | None = None  # for which the flag gives a list of values


_SETTING_FLAGS = [
    Flag(setting.flag, setting.value_type, setting.help, "training", name)
    for name, setting in SETTINGS.items()
    if setting.flag
]
_COMMON_FLAGS = (
    Flag("preset", TEXT, f"base settings: {', '.join(PRESETS)}", "training"),
    Flag(
        "model",
        TEXT,
        "network to train instead of the MLP of --hidden_sizes: module:factory, a "
        "function or class in a module of the current folder, such as my_networks:cnn",
        "training",
    ),
    Flag("num_seeds", COUNT, "number of seeds; the first is 0", "training"),
    Flag("epochs", COUNT, "passes over the training set", "training"),
    Flag(
        "zip",
        TEXT,
        "flags whose values are paired instead of combined in a grid, such as "
        "divisors,learning_rates",
        "training",
    ),
    Flag(
        "sample",
        COUNT,
        "number of random points to draw, instead of a grid, in the ranges of all "
        "settings that are given as start:stop",
        "training",
    ),
    Flag("sample_seed", SEED, "with --sample: seed (default: 0)", "training"),
    Flag(
        "halving",
        SWITCH,
        "successive halving: after each of --rungs except the last, only the settings "
        "with the lowest validation loss continue, by default a third; a sixth of the "
        "training set is held out unless --validation_examples is given",
        "training",
    ),
    Flag(
        "rungs",
        TEXT,
        "with --halving: epochs after which settings are pruned, and the epoch that "
        "ends training, such as 1,3,9 (default: a ninth, a third and all of --epochs)",
        "training",
    ),
    Flag(
        "keep_share",
        BELOW_1,
        "with --halving: share of the settings that continues after each rung "
        "(default: a third)",
        "training",
    ),
    Flag("x", TEXT, "setting on the horizontal axis; its flag sets the values", "maps"),
    Flag("y", TEXT, "setting on the vertical axis; its flag sets the values", "maps"),
    Flag(
        "criterion",
        CRITERION,
        "when a run counts as trained: status (see the legend), accuracy>=X or loss<=X "
        "on training images after the last epoch",
        "maps",
    ),
    Flag("zoom", TEXT, "x0:x1,y0:y1: this window only, same number of values", "maps"),
    Flag(
        "refine",
        integer(17, 1000),
        "adaptive map of N values of each setting: trains a coarse grid, and then only "
        "the points along boundaries, usually about a tenth of all",
        "maps",
    ),
    Flag(
        "zoom_from",
        TEXT,
        "with --refine and --zoom: folder of a finished map, whose trained points in "
        "the window are kept; further values are interpolated, about N in all",
        "maps",
    ),
    Flag(
        "dataset",
        TEXT,
        "auto (Fashion-MNIST if available, else a synthetic data set), fashion_mnist, "
        "mnist, synthetic, idx (other IDX files in --data_dir), a TFDS image set, or a "
        "path: a file or folder (CSV, Parquet, .npz, .npy, IDX, images by class)",
    ),
    Flag("data_dir", TEXT, "folder of the data set (default: $FMNIST_JAX_DATA)"),
    Flag("train_examples", COUNT, "use only N training examples"),
    Flag("test_examples", COUNT, "use only N test examples"),
    Flag("subset", SUBSET, "which: the first (default), or stratified by class"),
    Flag(
        "validation_examples",
        COUNT,
        "hold N training examples out and choose by them, not by the test set",
        "training",
    ),
    Flag(
        "out_dir",
        TEXT,
        "folder for the results (default: runs/NAME/UTC-TIME; for several experiments: "
        "runs/UTC-TIME, with a folder for each)",
    ),
    Flag(
        "keep_states",
        KEEP_STATES,
        "trained states to save, for fmnist_jax.load_states: none (default), all, or "
        "best (all seeds of the setting with the highest mean validation accuracy; "
        "without a validation set, test accuracy)",
        "training",
    ),
    Flag("overwrite", SWITCH, "replace the results in --out_dir"),
    Flag(
        "extend",
        SWITCH,
        "add runs, such as more seeds, values or points, to the finished results in "
        "--out_dir, and train only these; repeat the earlier flags and add to them",
        "training",
    ),
    Flag("dry_run", SWITCH, "print what would be done, and stop"),
    Flag(
        "num_shards",
        COUNT,
        "number of shards that the runs are divided into; this command trains one, and "
        "python -m experiments.merge combines them",
        "shards",
    ),
    Flag("shard_index", TEXT, "with --num_shards: shard to train (from 0)", "shards"),
    Flag(
        "distributed",
        SWITCH,
        "divide the runs among processes on several hosts; the following flags default "
        "to the values of the cluster",
        "shards",
    ),
    Flag("coordinator", TEXT, "with --distributed: HOST:PORT of process 0", "shards"),
    Flag("num_processes", COUNT, "with --distributed: number of processes", "shards"),
    Flag("process_id", TEXT, "with --distributed: process index (from 0)", "shards"),
    Flag("help", SWITCH, "print this help, and stop"),
)
# In the order of --help.
FLAGS = {flag.name: flag for flag in (*_SETTING_FLAGS, *_COMMON_FLAGS)}
SHARD_FLAGS = tuple(flag.name for flag in FLAGS.values() if flag.used_by == "shards")
# Other names of flags: the names of settings in the library, and short names.
_ALIASES = {flag.setting: flag.name for flag in FLAGS.values() if flag.setting} | {
    "num_epochs": "epochs",
    "lr": "learning_rates",
    "seed": "num_seeds",
    "seeds": "num_seeds",
}


def flags_of(experiment: Experiment) -> list[Flag]:
    """Returns the flags that an experiment uses."""
    users = ["all"]
    if experiment.trains:
        users += ["training", "shards", *(["maps"] if experiment.plane else [])]
    return [flag for flag in FLAGS.values() if flag.used_by in users]


def parse(
    argv: Sequence[str], experiments: Sequence[Experiment] = ()
) -> dict[str, Any]:
    """Returns the values of a command line.

    Those of settings are under "settings", and the texts that were given under "given",
    by the names of the flags.

    Args:
      argv: the command line; the first entry is the program.
      experiments: the experiments to run; flags that none of them uses are refused.

    Raises:
      UserError: as ``parse_flags``, or for a flag without effect.
    """
    given = read(argv)
    _check_used(given, experiments)
    values = _values(given, FLAGS.values())
    settings = {f.setting: values.pop(f.name) for f in FLAGS.values() if f.setting}
    values["settings"] = {name: v for name, v in settings.items() if v is not None}
    return {**values, "given": given}


def parse_flags(argv: Sequence[str], known: Collection[Flag]) -> dict[str, Any]:
    """Returns the value of each known flag; None or False if it is not given.

    Raises:
      UserError: as ``read``, or for a value that is not allowed.
    """
    return _values(read(argv, known), known)


def _values(given: Given, known: Iterable[Flag]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for flag in known:
        value = given.get(flag.name, False if flag.value_type is SWITCH else None)
        if isinstance(value, str) and flag.value_type is not TEXT:
            parse_text = parse_list if flag.setting else parse_value
            value = parse_text(flag.name, flag.value_type, value)
        values[flag.name] = value
    return values


def _check_used(names: Iterable[str], experiments: Sequence[Experiment]) -> None:
    """Refuses flags that none of the experiments uses."""
    used = {flag.name for experiment in experiments for flag in flags_of(experiment)}
    unused = [name for name in names if name not in used]
    if experiments and unused:
        first = experiments[0]
        expected = ", --".join(flag.name for flag in flags_of(first))
        reason = f"trains nothing; expected --{expected}"
        if first.trains:
            reason = "draws no map, but trainability_map does"
        raise UserError(f"--{unused[0]} has no effect: {first.name} {reason}.")


def read(argv: Sequence[str], known: Collection[Flag] = FLAGS.values()) -> Given:
    """Returns the texts of the flags on a command line.

    Raises:
      UserError: for an unknown flag, a stray argument, or a flag given twice or without
        a value.
    """
    values = flags.FlagValues()
    for flag in known:
        if flag.value_type is SWITCH:
            flags.DEFINE_boolean(flag.name, False, "", flag_values=values)
        else:
            flags.DEFINE_string(flag.name, None, "", flag_values=values)
    for argument in argv[1:]:
        name, equals, _ = argument.lstrip("-").partition("=")
        if name in ("flagfile", "undefok"):  # defined by absl
            raise UserError(f"Unknown flag {argument!r} (--help lists the flags).")
        if argument[:1] == "-" and equals and name in values and values[name].boolean:
            raise UserError(
                f"--{name} is a switch: give it without a value, or leave it out."
            )
    try:
        stray = values(list(argv))[1:]
    except flags.UnrecognizedFlagError as error:
        raise _unknown(error.flagname, list(values)) from error
    except (flags.Error, ValueError) as error:  # ValueError: for --noflag=value
        raise UserError(f"{error} (--help lists the flags).") from error
    if stray:
        raise UserError(
            f"Stray argument {stray[0]!r}; expected flags only, such as "
            "--out_dir=FOLDER (--help lists them)."
        )
    typed = [argument.lstrip("-").partition("=")[0] for argument in argv]
    given = {name: text for name, text in values.flag_values_dict().items() if text}
    for name in values:
        text = values[name].value
        if isinstance(text, str) and values[name].present > 1:
            raise UserError(f"--{name} is given twice; give it once.")
        if isinstance(text, str) and not text.strip():
            raise UserError(f"--{name} is empty; give it a value, or leave it out.")
    return dict(sorted(given.items(), key=lambda item: typed.index(item[0])))


def _unknown(name: str, known: Sequence[str]) -> UserError:
    """Returns the error for an unknown flag, with the nearest known one."""
    nearest = _ALIASES.get(name)
    if nearest not in known:
        others = [] if name in SETTINGS else known  # a setting of the library only
        nearest = next(iter(difflib.get_close_matches(name, others, n=1)), None)
    hint = f" Did you mean --{nearest}?" if nearest else ""
    return UserError(f"Unknown flag --{name}.{hint} --help lists the flags.")
