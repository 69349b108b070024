"""Lines of code that scale inputs and make an optimizer, in Keras, PyTorch and Flax."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fmnist_jax.choices import OPTIMIZERS


class Library(NamedTuple):
    """How code in a library is written."""

    floats: str  # inputs ``x`` as float32
    # Lines that scale ``x`` by the statistics of ``x_train``; a constant pixel is only
    # shifted.
    statistics: Sequence[str]
    optimizer: str  # the beginning of the line that makes an optimizer
    optimizers: Mapping[str, str]  # name in ``OPTIMIZERS`` to the name in the library
    settings: Mapping[str, str] = {}  # names that differ from those of ``Hparams``


_KERAS = {
    **dict.fromkeys(("sgd", "momentum", "nesterov"), "SGD"),
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
    "adam": "Adam",
    "adamw": "AdamW",
    "lion": "Lion",
}
LIBRARIES = {
    "Keras": Library(
        'x.astype("float32")',
        (
            "is_constant = np.ptp(x_train, {axes}) == 0",
            "scale = np.where(is_constant, 1, x_train.std({axes}))",
            "x = (x - x_train.mean({axes})) / scale",
        ),
        "keras.optimizers.{name}(",
        _KERAS,
        {"b1": "beta_1", "b2": "beta_2", "eps": "epsilon", "decay": "rho"},
    ),
    "PyTorch": Library(
        "x.float()",
        (
            "x_train = x_train.float()",
            "is_constant = x_train.amax({axes}) == x_train.amin({axes})",
            "scale = torch.where(is_constant, 1, x_train.std({axes}, correction=0))",
            "x = (x - x_train.mean({axes})) / scale",
        ),
        "torch.optim.{name}(model.parameters(), ",
        {name: other for name, other in _KERAS.items() if name != "lion"},
        {"learning_rate": "lr", "decay": "alpha"},
    ),
    "Flax": Library(
        "jnp.asarray(x, jnp.float32)",
        (
            "is_constant = jnp.ptp(x_train, {axes}) == 0",
            "scale = jnp.where(is_constant, 1, jnp.std(x_train, {axes}))",
            "x = (x - jnp.mean(x_train, {axes})) / scale",
        ),
        "optax.{name}(",
        {name: "sgd" if _KERAS[name] == "SGD" else name for name in _KERAS},
    ),
}


def code_lines(
    settings: Mapping[str, Any], image_shape: Sequence[int]
) -> dict[str, tuple[str, ...]]:
    """Returns lines of code by library; none for one without the optimizer.

    The settings are "normalization" (none, per_feature or per_channel), "offset",
    "divisor", "optimizer", and those of the optimizer. In the lines, ``x`` and
    ``x_train`` are ``[N, *image_shape]``.
    """
    return {
        name: (
            *_scaling(library, settings, len(image_shape)),
            _optimizer(library, settings),
        )
        for name, library in LIBRARIES.items()
        if settings["optimizer"] in library.optimizers
    }


def _scaling(
    library: Library, settings: Mapping[str, Any], image_rank: int
) -> Sequence[str]:
    # In full float32 precision, without digits that have no effect.
    offset, divisor = (
        float(str(np.float32(settings[name]))) for name in ("offset", "divisor")
    )
    shift = "" if settings["offset"] == 0 else f" - {offset}"
    scale = "" if settings["divisor"] == 1 else f" / {divisor}"
    if settings["normalization"] == "none":
        x = f"({library.floats}{shift})" if shift else library.floats
        return [f"x = {x}{scale}"]
    is_per_channel = settings["normalization"] == "per_channel"
    axes = str(tuple(range(image_rank)) if is_per_channel else 0)
    lines = [line.format(axes=axes) for line in library.statistics]
    return [*lines, *([f"x = (x{shift}){scale}"] if shift or scale else [])]


def _optimizer(library: Library, settings: Mapping[str, Any]) -> str:
    name = settings["optimizer"]
    values = {n: settings[n] for n in OPTIMIZERS[name] if n in settings}
    if library is LIBRARIES["PyTorch"] and {"b1", "b2"} <= values.keys():
        values["betas"] = values.pop("b1"), values.pop("b2")
    if name == "nesterov":
        values["nesterov"] = True
    texts = [f"{library.settings.get(n, n)}={v}" for n, v in values.items()]
    start = library.optimizer.format(name=library.optimizers[name])
    return f"optimizer = {start}{', '.join(texts)})"
