"""optax's optimizers by name; their settings come from ``Hparams``, traced or not."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import DictKey, tree_map_with_path

from fmnist_jax.config import OPTIMIZERS, TRACED, Config, Hparams, resolve
from fmnist_jax.effects import check_first_kernel, uses_setting

# Here, because config.py imports no jax; code with traced settings imports this module.
jax.tree_util.register_dataclass(
    Hparams, data_fields=[*TRACED, "extra"], meta_fields=[]
)

FIRST_KERNEL = DictKey("Dense_0"), DictKey("kernel")  # of the built-in MLP
EPS_IN_ROOT = ("rmsprop", "adagrad")  # g / √(v + eps); Adam: g / (√v + eps)
_FUNCTIONS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "momentum": optax.sgd,
    "nesterov": functools.partial(optax.sgd, nesterov=True),
    "rmsprop": optax.rmsprop,
    "adagrad": optax.adagrad,
    "adam": optax.adam,
    "adamw": optax.adamw,
    "lion": optax.lion,
}


def make_optimizer(config: Config, hparams: Hparams) -> optax.GradientTransformation:
    """Returns the optimizer of ``config`` with the settings of ``hparams``.

    It is built inside each traced function, so that its settings may be traced values;
    only its state is carried from step to step. A setting of None is the optimizer's
    own default.

    Training on x/d equals training on x if the first kernel starts at 1/d of its
    values, its gradients are divided by d before the optimizer, and its updates are
    divided by d after it. This holds for every optimizer without weight decay and
    penalties. The settings are ``first_kernel_scale=1/d`` and, for sgd, momentum and
    nesterov, ``first_kernel_rate=1/d**2``. For the other optimizers they are
    ``first_kernel_rate=1/d`` and ``first_kernel_eps=d`` (adam, adamw) or ``d**2``
    (rmsprop, adagrad); lion has no epsilon.

    Raises:
      UserError: for settings of the first kernel with a user's network.
    """
    check_first_kernel(config, hparams)
    h = resolve(config, hparams)
    if callable(config.optimizer):
        transforms = [config.optimizer(h)]
    else:
        settings = {name: getattr(h, name) for name in OPTIMIZERS[config.optimizer]}
        transforms = [_FUNCTIONS[config.optimizer](**settings)]
    if h.first_kernel_rate is not None:
        transforms.append(_first_kernel_scaling(h.first_kernel_rate))
    eps = h.first_kernel_eps
    if eps is not None and uses_setting(config, "first_kernel_eps"):
        # One optimizer for all parameters keeps the bits of the other arrays; and g/e
        # divided by √(v/e²) + ε is g divided by √v + eε.
        divisor = jnp.sqrt(eps) if config.optimizer in EPS_IN_ROOT else eps
        transforms.insert(0, _first_kernel_scaling(1 / divisor))
    return optax.chain(*transforms) if len(transforms) > 1 else transforms[0]


def _first_kernel_scaling(factor: Any) -> optax.GradientTransformation:
    return optax.stateless(lambda updates, _: scale_first_kernel(updates, factor))


def scale_first_kernel(params: Any, factor: Any) -> Any:
    """Returns a tree like the parameters with its first kernel times ``factor``."""
    return tree_map_with_path(
        lambda path, x: x * factor if path == FIRST_KERNEL else x, params
    )
