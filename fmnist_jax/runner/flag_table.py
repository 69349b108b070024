"""The flags of the command line: names, values and help."""

from typing import NamedTuple

from fmnist_jax.config import PRESETS, SETTINGS
from fmnist_jax.runner.experiment import Experiment
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
        "network to train instead of the MLP of --hidden_sizes: module:factory, such "
        "as my_networks:cnn (a network, or a function or class that returns one)",
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
        "adaptive map of N values of each setting: trains a coarse grid, then only the "
        "points along boundaries (about a tenth of all for N=256; more for small N)",
        "maps",
    ),
    Flag(
        "zoom_from",
        TEXT,
        "with --refine and --zoom: folder of a finished map; reuses its trained points "
        "in the window and adds values between its values, about N of each setting",
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
    Flag(
        "workers",
        COUNT,
        "number of processes to start on this machine, which train in place of this "
        "one; one for each GPU if there are GPUs (needs Dask)",
        "training",
    ),
    Flag(
        "scheduler",
        TEXT,
        "train on the workers of this Dask scheduler: an address, such as "
        "tcp://host:8786, or a scheduler file",
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
    Flag("help", SWITCH, "print this help, and stop"),
)
# In the order of --help.
FLAGS = {flag.name: flag for flag in (*_SETTING_FLAGS, *_COMMON_FLAGS)}
SHARD_FLAGS = tuple(flag.name for flag in FLAGS.values() if flag.used_by == "shards")


def flags_of(experiment: Experiment) -> list[Flag]:
    """Returns the flags that an experiment uses."""
    users = ["all"]
    if experiment.trains:
        users += ["training", "shards", *(["maps"] if experiment.plane else [])]
    return [flag for flag in FLAGS.values() if flag.used_by in users]
