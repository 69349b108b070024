"""What ``help`` shows: every setting, and every argument of the public functions."""

import copy
import dataclasses
import inspect
import pydoc
import re
import types
from collections.abc import Mapping
from typing import Any

import pytest

import fmnist_jax
from fmnist_jax import training
from fmnist_jax.config import SETTINGS, Config, Hparams
from fmnist_jax.values import settings_of

PUBLIC = {
    **{name: getattr(fmnist_jax, name) for name in dir(fmnist_jax)},
    **{name: v for name, v in vars(training).items() if not name.startswith("_")},
}
FUNCTIONS = {n: v for n, v in PUBLIC.items() if hasattr(v, "__code__")}
FUNCTIONS |= {n: v.__wrapped__ for n, v in PUBLIC.items() if hasattr(v, "__wrapped__")}
CLASSES = {
    name: value
    for name, value in PUBLIC.items()
    if isinstance(value, type) and not isinstance(value, types.GenericAlias)
}
# What a person reads of some settings; the tests below read the fields.
SHOWN = {
    "learning_rate": "Default: None, which means 0.01 for sgd, momentum, nesterov, "
    "adagrad; 0.001 for rmsprop, adam, adamw; 0.0001 for lion. Allowed: a positive "
    "number (from 1.2e-38 to 3.4e38 in float32). Flag: --learning_rates.",
    "divisor": "Default: None, which means 255 for none; 1 for unit, symmetric, "
    "standard, per_feature, per_channel, whiten. Allowed: a positive",
    "dropout_rate": "share of the inputs of each layer set to 0 in training. Default: "
    "None, which means the same as 0. Allowed: a number of at least 0 and less than 1.",
    "batch_size": "Default: 32. Allowed: a whole number from 1 to 1,000,000. Flag: "
    "--batch_sizes.",
    "optimizer": "Default: 'adam'. Allowed: one of sgd, momentum, nesterov, rmsprop, "
    "adagrad, adam, adamw, lion (in Python, also a function). Flag: --optimizers.",
    "evaluate_train": "Default: True. Allowed: True or False.",
}


def entries(cls: type) -> Mapping[str, str]:
    """Returns the entry of each attribute in what ``help`` shows of a class."""
    shown = pydoc.plain(pydoc.render_doc(cls))
    lines = [line.removeprefix(" |").rstrip() for line in shown.splitlines()]
    text = "\n".join(lines).partition("  Attributes:\n")[2].partition("\n\n")[0]
    pairs = re.findall(r"^    (\w+): (.+(?:\n      .+)*)", text, re.M)
    return {name: " ".join(entry.split()) for name, entry in pairs}


@pytest.mark.parametrize("cls", [Config, Hparams])
def test_help_lists_meaning_default_allowed_values_and_flag(cls: Any) -> None:
    shown = entries(cls)
    assert list(shown) == [field.name for field in dataclasses.fields(cls)]
    for field in dataclasses.fields(cls):
        if field.name == "extra":
            continue  # holds settings of the user's
        setting, entry = SETTINGS[field.name], shown[field.name]
        assert entry.startswith(f"{setting.help}. Default: {field.default!r}")
        assert f"Allowed: {setting.value_type.allowed}." in entry
        assert entry.endswith(f"Flag: --{setting.flag}.") == bool(setting.flag)
    assert {name: t for name, t in SHOWN.items() if t in shown.get(name, t)} == SHOWN


def test_help_fits_on_a_terminal_of_88_columns() -> None:
    for cls in (Config, Hparams):
        shown = inspect.getdoc(cls) or ""
        assert max(map(len, shown.splitlines())) <= 84  # help puts " |  " before it


def test_a_class_without_docstring_has_settings() -> None:
    field = copy.copy(dataclasses.fields(Config)[-1])  # it is renamed
    undocumented = dataclasses.make_dataclass("Undocumented", [("order", str, field)])
    undocumented.__doc__ = None  # as with python -OO
    assert settings_of(undocumented)["order"].help == ""
    assert dataclasses.replace(Config(), evaluate_dropout=True).evaluate_dropout


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_is_explained(name: str) -> None:
    doc = inspect.getdoc(FUNCTIONS[name]) or ""
    for other in re.findall(r"``(\w+)``", doc):  # "as ``train_epoch``"
        doc += inspect.getdoc(FUNCTIONS.get(other)) or ""
    arguments = {*inspect.signature(FUNCTIONS[name]).parameters}
    # Explained in the docstrings of Config and Hparams, with their shapes in the name.
    arguments -= {"config", "hparams", "state", "logits_BxC", "labels_B"}
    entries_and_names = re.findall(r"^ *(\w+): |``(\w+)``", doc, re.M)
    assert arguments <= {entry or name for entry, name in entries_and_names}


@pytest.mark.parametrize("name", CLASSES)
def test_every_field_is_explained(name: str) -> None:
    cls = CLASSES[name]
    doc = inspect.getdoc(cls) or ""
    assert not doc.startswith(f"{name}("), "the docstring is generated"
    names = {*getattr(cls, "_fields", ())}
    if dataclasses.is_dataclass(cls):
        names = {field.name for field in dataclasses.fields(cls)}
    names -= {"parent", "name"} if name == "MLP" else set()  # Flax's
    assert names <= {*re.findall(r"\w+", doc)}
