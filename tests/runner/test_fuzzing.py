"""Random command lines are parsed exactly, or refused in one line."""

import math
import operator
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from experiments.scale_sweep import EXPERIMENT
from fmnist_jax import config, values
from fmnist_jax.errors import UserError
from fmnist_jax.runner import command_line, flag_table, flags, jobs, rebuilt, shards

many = settings(max_examples=1000, deadline=None, derandomize=True, database=None)
CHOICES = {
    "optimizer": list(config.OPTIMIZERS),
    "loss": list(config.LOSS_LEGENDS),
    "initializer": list(config.INITIALIZERS),
    "schedule": list(config.SCHEDULES),
    "precision": list(config.PRECISIONS),
    "batch_norm": list(config.BATCH_NORMS),
    "penalized": list(config.PENALIZED),
    "order": list(config.ORDERS),
    "normalization": list(config.NORMALIZATIONS),
    "whitening": list(config.WHITENINGS),
}
counts = st.integers(1, 1_000_000)
floats = st.floats(values.FLOAT32_TINY, values.FLOAT32_MAX)
NUMBERS = {
    values.POSITIVE: floats,
    values.FINITE: st.just(0.0) | floats | floats.map(operator.neg),
    values.NOT_NEGATIVE: st.just(0.0) | floats,
    values.BELOW_1: st.floats(0, 1, exclude_max=True),
    values.UP_TO_1: st.floats(0, 1),
    values.WHOLE_NUMBER: st.integers(0, 1_000_000).map(float),
    values.TARGET: st.floats(0, 1) | st.just(math.inf),
    values.COUNT: counts,
    values.WHOLE_COUNT: st.integers(0, 1_000_000),
}
sizes = st.lists(counts, max_size=3).map(tuple)


def values_of(name: str) -> st.SearchStrategy[Any]:
    """Allowed values of a setting."""
    if name in CHOICES:
        return st.sampled_from(CHOICES[name])
    if name == "hidden_sizes":
        return sizes
    return NUMBERS[config.SETTINGS[name].value_type]


def text_of(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        return config.SETTINGS[name].value_type.text(value)
    return value if isinstance(value, str) else repr(value)


@st.composite
def command_lines(draw: Any) -> tuple[list[str], dict[str, tuple[Any, ...]]]:
    """A command line, and the settings that it gives."""
    names = [flag.setting for flag in flag_table.FLAGS.values() if flag.setting]
    expected, argv = {}, []
    for name in draw(st.lists(st.sampled_from(names), unique=True)):
        values = draw(st.lists(values_of(name), min_size=1, max_size=4, unique=True))
        flag = f"--{config.SETTINGS[name].flag}"
        text = ",".join(text_of(name, value) for value in values)
        argv += draw(st.sampled_from([[f"{flag}={text}"], [flag, text]]))
        expected[name] = tuple(values)
    return argv, expected


@pytest.mark.slow
@given(command_lines())
@many
def test_valid_command_lines_parse_to_their_settings(
    example: tuple[list[str], dict[str, tuple[Any, ...]]],
) -> None:
    argv, expected = example
    options = flags.parse(["x", *argv])
    assert options["settings"] == expected
    out_dir = f"--out_dir={options['out_dir']}"
    line = [
        *rebuilt.arguments(options["given"]),
        *([out_dir] * bool(options["out_dir"])),
    ]
    assert flags.parse(["x", *line]) == options


texts = st.text(max_size=12) | st.sampled_from(
    ["", "0", "1", "-1", "1e999", "nan", "inf", "1:10:3", "1:1e6:13", "::", "1,,2", ",",
     "none", "1x2", "x", "adam", "sgd,adam", "true", "²", "٣", "1_000", "0x10", "'",
     "\x00", "\n", "--", "1e-40", "99999999999999999999", "/", "..", "~", "é", "%s"]
)  # fmt: skip
names = st.sampled_from([*flag_table.FLAGS]) | st.text(max_size=8)
arguments = (
    st.tuples(st.sampled_from(["--", "-", "--no", ""]), names, st.just("="), texts)
    | st.tuples(st.just("--"), names, st.just(""), st.just(""))
    | st.tuples(texts)
).map("".join)


def outcome(argv: list[str]) -> Any:
    try:
        options = flags.parse(["x", *argv], [EXPERIMENT])
        shards.check(options, [EXPERIMENT])
        return jobs.make_job(EXPERIMENT, options)
    except UserError as error:
        return command_line.error_line(error)


@pytest.mark.slow
@given(st.lists(arguments, max_size=5))
@many
def test_every_other_command_line_gets_one_line(argv: list[str]) -> None:
    line = outcome(argv)
    if not isinstance(line, jobs.Job):
        assert line.startswith("Error: ")
        assert len(line) > 20
        assert len(line.splitlines()) == 1
