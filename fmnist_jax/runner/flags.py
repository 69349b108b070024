"""The command line: flags made from the settings, and lists of values."""

import collections
import difflib
import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from fmnist_jax.config import PRESETS, SETTINGS
from fmnist_jax.errors import UserError
from fmnist_jax.runner.experiment import Experiment
from fmnist_jax.values import COUNT, ValueType, spaced

MOST_VALUES = 100_000  # of one list
# In the order in which help lists them: what to do, on what, where to, and shared how.
COMMON = {
    "preset": f"settings to start from: {', '.join(PRESETS)}",
    "num_seeds": "how many seeds, from 0 on",
    "epochs": "passes over the training set",
    "x": "setting along the bottom of the map; its values are those of its own flag",
    "y": "likewise, up the side",
    "zoom": "x0:x1,y0:y1, a window with as many values each way",
    "dataset": "auto (Fashion-MNIST, or a synthetic stand-in where it cannot be had), "
    "fashion_mnist, mnist, synthetic, idx (unknown files), or a TFDS image set",
    "data_dir": "folder with the data set's files (default: $FMNIST_JAX_DATA)",
    "train_examples": "keep the first so many training examples",
    "test_examples": "keep the first so many test examples",
    "out_dir": "folder for the results (default: runs/NAME/UTC-TIME; of several "
    "experiments: runs/UTC-TIME, with a folder for each)",
    "overwrite": "replace results that stand in --out_dir",
    "dry_run": "print what would be done, and stop",
    "num_shards": "into how many shares the runs are divided, of which this command "
    "trains one; python -m experiments.merge puts them together",
    "shard_index": "with --num_shards, which share to train, from 0 on",
    "distributed": "share the runs with the processes of this command on other hosts",
    "coordinator": "with --distributed, HOST:PORT of process 0 (default: the "
    "cluster's)",
    "num_processes": "with --distributed, how many processes there are (default: the "
    "cluster's)",
    "process_id": "with --distributed, which process this is, from 0 on (default: the "
    "cluster's)",
    "help": "print this help, and stop",
}
_SWITCHES = ("overwrite", "distributed", "dry_run", "help")
_COUNTS = (
    *("num_seeds", "epochs", "train_examples", "test_examples"),
    *("num_shards", "num_processes"),
)
SETTING_FLAGS = {s.flag: (name, s) for name, s in SETTINGS.items() if s.flag}
_TEXTS = tuple(n for n in (*COMMON, *SETTING_FLAGS) if n not in (*_COUNTS, *_SWITCHES))
# What else flags are called: as the library calls the settings, and in short.
_CALLED = {name: flag for flag, (name, _) in SETTING_FLAGS.items()} | {
    "num_epochs": "epochs",
    "lr": "learning_rates",
    "seed": "num_seeds",
    "seeds": "num_seeds",
}
# Of the common flags, those that say how runs are shared; and those for training.
SHARING = (
    *("num_shards", "shard_index"),
    *("distributed", "coordinator", "num_processes", "process_id"),
)
_FOR_MAPS = ("x", "y", "zoom")
_FOR_TRAINING = ("preset", "num_seeds", "epochs", *SHARING)


def parse_value(flag: str, kind: ValueType, text: str) -> Any:
    """Returns one value of a flag.

    Raises:
      UserError: where it is not one that is allowed.
    """
    try:
        value = kind.parse(text.strip())
    except ValueError:
        value = None
    if value is None or not kind.accepts(value):
        raise UserError(f"--{flag}: {text!r} is not allowed; expected {kind.allowed}.")
    return value


def parse_list(flag: str, kind: ValueType, text: str) -> tuple[Any, ...]:
    """Returns the values of a comma-separated list.

    ``start:stop:count`` stands for so many numbers, log-spaced from start to stop.

    Raises:
      UserError: where it has no values, or one that is not allowed.
    """
    values: list[Any] = []
    for entry in text.split(","):
        if kind.parse is float and ":" in entry:
            values += _spaced(flag, kind, entry)
        else:
            values.append(parse_value(flag, kind, entry))
    counts = collections.Counter(values)
    twice = next((value for value, count in counts.items() if count > 1), None)
    if twice is not None:
        raise UserError(f"--{flag}={text} has {kind.text(twice)} twice; give it once.")
    return tuple(values)


def _spaced(flag: str, kind: ValueType, entry: str) -> list[float]:
    parts = entry.split(":")
    if len(parts) != 3:
        raise UserError(
            f"--{flag}: {entry!r} is not start:stop:count, such as 1:1e6:13."
        )
    start, stop = (parse_value(flag, kind, part) for part in parts[:2])
    count = parse_value(flag, COUNT, parts[2])
    if count > MOST_VALUES or min(start, stop) <= 0:
        raise UserError(
            f"--{flag}: {entry!r} is not allowed; expected start:stop:count, both ends "
            f"above 0 and at most {MOST_VALUES} values."
        )
    return spaced(start, stop, count)


def taken(experiment: Experiment) -> tuple[str, ...]:
    """Returns the flags that an experiment takes: those that it uses."""
    trains = experiment.trains
    unused = set() if trains else {*_FOR_TRAINING}
    if not (experiment.plane):
        unused |= {*_FOR_MAPS}
    common = [name for name in COMMON if name not in unused]
    return (*SETTING_FLAGS, *common) if trains else tuple(common)


def own_arguments(
    argv: Sequence[str], experiment: Experiment, out_dir: Path
) -> list[str]:
    """Returns the arguments with which one experiment of several makes its folder."""
    own = set(taken(experiment)) - {"out_dir", "overwrite"}
    kept = [argument for name, argument in _by_flag(argv) if name in own]
    return [*kept, f"--out_dir={out_dir}"]


def command(
    experiments: Sequence[Experiment], argv: Sequence[str], out_dir: Path
) -> str:
    """Returns a command line that writes to ``out_dir``, as it is typed."""
    names = [experiment.name for experiment in experiments]
    several = ["experiments", f"--only={','.join(names)}"]
    module = several if len(names) > 1 else [f"experiments.{names[0]}"]
    rest = without(argv, ["out_dir"])
    return shlex.join(["python", "-m", *module, *rest, f"--out_dir={out_dir}"])


def without(argv: Sequence[str], names: Collection[str]) -> list[str]:
    """Returns the arguments of a command line that belong to other flags."""
    return [argument for name, argument in _by_flag(argv) if name not in names]


def _by_flag(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields each argument of a command line and the name of its flag."""
    arguments = iter(argv[1:])
    for argument in arguments:
        name, equals, _ = argument.lstrip("-").partition("=")
        if name:  # else "--", after which there is nothing
            yield name, argument
        if not equals and name in (*_TEXTS, *_COUNTS):
            yield name, next(arguments)


def _check_taken(given: Sequence[str], experiments: Sequence[Experiment]) -> None:
    """Refuses flags that none of the experiments uses."""
    used = {name for experiment in experiments for name in taken(experiment)}
    for name in given:
        if experiments and name not in used:
            first = experiments[0]
            what = "trains nothing"
            expected = f"expected --{', --'.join(taken(first))}"
            if first.trains:
                what, expected = "draws no map", "trainability_map does"
            raise UserError(f"--{name} has no effect: {first.name} {what}; {expected}.")


def parse(
    argv: Sequence[str], experiments: Sequence[Experiment] = ()
) -> dict[str, Any]:
    """Returns the flags of a command line.

    Args:
      argv: the command line, of which the first entry is the program.
      experiments: what it is for: flags that none of them takes are refused.

    Returns:
      Each common flag's value, None or False where it was not given, and under
      "settings" the values of each setting that was.

    Raises:
      UserError: for an unknown flag, a stray argument, or a value that is not allowed.
    """
    given = parse_flags(argv, _TEXTS, _COUNTS, _SWITCHES)
    _check_taken([name for name, v in given.items() if v], experiments)
    lists = {name: given.pop(name) for name in SETTING_FLAGS}
    given["settings"] = {
        name: parse_list(flag, setting.value_type, text)
        for flag, (name, setting) in SETTING_FLAGS.items()
        if (text := lists[flag]) is not None
    }
    return given


def parse_flags(
    argv: Sequence[str],
    texts: Iterable[str],
    counts: Iterable[str],
    switches: Iterable[str] = (),
) -> dict[str, Any]:
    """Returns the values of a command line's flags; None or False for one not given.

    Args:
      argv: the command line, of which the first entry is the program.
      texts: names of flags that take a text.
      counts: names of flags that take a whole number.
      switches: names of flags that take nothing.

    Raises:
      UserError: for an unknown flag, a stray argument, one given twice or empty, or a
        number that is not allowed.
    """
    texts, counts, switches = list(texts), list(counts), list(switches)
    values = flags.FlagValues()
    for name in (*texts, *counts):
        flags.DEFINE_string(name, None, "", flag_values=values)
    for name in switches:
        flags.DEFINE_boolean(name, False, "", flag_values=values)
    stray = _read(values, argv)
    if stray:
        raise UserError(
            f"Stray argument {stray[0]!r}; expected flags only, such as "
            "--out_dir=FOLDER (--help lists them)."
        )
    for name in (*texts, *counts):
        if values[name].present > 1:
            raise UserError(f"--{name} is given twice; give it once.")
        text = values[name].value
        if text is not None and not text.strip():
            raise UserError(f"--{name} is empty; give it a value, or leave it out.")
    given: dict[str, Any] = {name: values[name].value for name in (*texts, *switches)}
    for name in counts:
        text = values[name].value
        given[name] = None if text is None else parse_value(name, COUNT, text)
    return given


def _read(values: flags.FlagValues, argv: Sequence[str]) -> list[str]:
    """Has absl read the flags; returns what is left over."""
    for argument in argv[1:]:
        name, equals, _ = argument.lstrip("-").partition("=")
        if name in ("flagfile", "undefok"):  # absl's own, which no one is told of
            raise UserError(f"Unknown flag {argument!r} (--help lists the flags).")
        if argument[:1] == "-" and equals and name in values and values[name].boolean:
            raise UserError(
                f"--{name} is a switch: give it without a value, or leave it out."
            )
    try:
        return values(list(argv))[1:]
    except flags.UnrecognizedFlagError as error:
        raise _unknown(error.flagname, list(values)) from error
    except (flags.Error, ValueError) as error:  # ValueError: of --noflag=value
        raise UserError(f"{error} (--help lists the flags).") from error


def _unknown(name: str, known: Sequence[str]) -> UserError:
    """Returns the error for a flag that is none of those known."""
    meant = _CALLED.get(name)
    if meant not in known:
        others = [] if name in SETTINGS else known  # that one is the library's only
        meant = next(iter(difflib.get_close_matches(name, others, n=1)), None)
    hint = f" Did you mean --{meant}?" if meant else ""
    return UserError(f"Unknown flag --{name}.{hint} --help lists the flags.")
