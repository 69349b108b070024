"""Command lines that Hypothesis makes up: what they say, or one line."""

import math
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from experiments.scale_sweep import EXPERIMENT
from fmnist_jax import config, values
from fmnist_jax.errors import UserError
from fmnist_jax.runner import command_line, flags, jobs, shards

many = settings(max_examples=1000, deadline=None, derandomize=True, database=None)
NAMED = {
    "optimizer": list(config.OPTIMIZERS), "loss": list(config.LOSS_LEGENDS),
    "initializer": list(config.INITIALIZERS), "schedule": list(config.SCHEDULES),
    "precision": list(config.PRECISIONS), "batch_norm": list(config.BATCH_NORMS),
    "penalized": list(config.PENALIZED), "order": list(config.ORDERS),
}  # fmt: skip
counts = st.integers(1, 1_000_000)
floats = st.floats(values.FLOAT32_TINY, values.FLOAT32_MAX)
NUMBERS = {
    values.POSITIVE: floats,
    values.NOT_NEGATIVE: st.just(0.0) | floats,
    values.FRACTION: st.floats(0, 1, exclude_max=True),
    values.SHARE: st.floats(0, 1),
    values.WHOLE: st.integers(0, 1_000_000).map(float),
    values.TARGET: st.floats(0, 1) | st.just(math.inf),
    values.COUNT: counts,
}
sizes = st.lists(counts, max_size=3).map(tuple)


def values_of(name: str) -> st.SearchStrategy[Any]:
    """What may be said of a setting."""
    if name in NAMED:
        return st.sampled_from(NAMED[name])
    return (
        sizes if name == "hidden_sizes" else NUMBERS[config.SETTINGS[name].value_type]
    )


def written(name: str, value: Any) -> str:
    return config.SETTINGS[name].value_type.text(value) if isinstance(value, tuple) else (
        value if isinstance(value, str) else repr(value)
    )  # fmt: skip


@st.composite
def spoken(draw: Any) -> tuple[list[str], dict[str, tuple[Any, ...]]]:
    """A command line, and what it says."""
    names = [name for name, _ in flags.SETTING_FLAGS.values()]
    said, argv = {}, []
    for name in draw(st.lists(st.sampled_from(names), unique=True)):
        values = draw(st.lists(values_of(name), min_size=1, max_size=4, unique=True))
        flag = f"--{config.SETTINGS[name].flag}"
        text = ",".join(written(name, value) for value in values)
        argv += draw(st.sampled_from([[f"{flag}={text}"], [flag, text]]))
        said[name] = tuple(values)
    return argv, said


@given(spoken())
@many
def test_valid_command_lines_parse_to_what_they_say(
    made: tuple[list[str], dict[str, tuple[Any, ...]]],
) -> None:
    argv, said = made
    assert flags.parse(["x", *argv])["settings"] == said


texts = st.text(max_size=12) | st.sampled_from(
    ["", "0", "1", "-1", "1e999", "nan", "inf", "1:10:3", "1:1e6:13", "::", "1,,2", ",",
     "none", "1x2", "x", "adam", "sgd,adam", "true", "²", "٣", "1_000", "0x10", "'",
     "\x00", "\n", "--", "1e-40", "99999999999999999999", "/", "..", "~", "é", "%s"]
)  # fmt: skip
known = [*flags.SETTING_FLAGS, *flags.COMMON]
names = st.sampled_from(known) | st.text(max_size=8)
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


@given(st.lists(arguments, max_size=5))
@many
def test_every_other_command_line_gets_one_line(argv: list[str]) -> None:
    found = outcome(argv)
    if not isinstance(found, jobs.Job):
        assert found.startswith("Error: ")
        assert len(found) > 20
        assert len(found.splitlines()) == 1
