"""optax's optimizers by name, their settings taken from ``Hparams``, traced or not."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import DictKey, tree_map_with_path

from fmnist_jax.config import TRACED, Config, Hparams, resolve
from fmnist_jax.effects import check_first_kernel, uses_setting

# config.py imports no jax; whatever takes traced settings comes by this module.
jax.tree_util.register_dataclass(Hparams, data_fields=list(TRACED), meta_fields=[])

FIRST_KERNEL = DictKey("Dense_0"), DictKey("kernel")  # of the built-in MLP
EPS_IN_ROOT = ("rmsprop", "adagrad")  # g / √(v + eps), where Adam has g / (√v + eps)


def make_optimizer(config: Config, hparams: Hparams) -> optax.GradientTransformation:
    """Returns the optimizer of ``config`` with the settings of ``hparams``.

    It is made anew inside each traced function, so that its settings may be traced
    values: nothing but its state is ever carried. Settings left ``None`` are the
    optimizer's own defaults.

    Training on x/d is training on x where the first kernel starts at 1/d of its values,
    its gradients are divided by d on their way into the optimizer, and so are its steps
    on their way out; without weight decay and penalties, whatever the optimizer. That
    is ``first_kernel_scale=1/d`` and, for sgd, momentum and nesterov,
    ``first_kernel_rate=1/d**2``; for the others ``first_kernel_rate=1/d`` and
    ``first_kernel_eps=d`` (adam, adamw) or ``d**2`` (rmsprop, adagrad); lion has none.

    Raises:
      UserError: for settings of the first kernel of a network of the user's.
    """
    check_first_kernel(config, hparams)
    h = resolve(config, hparams)
    rate, eps = h.first_kernel_rate, h.first_kernel_eps
    steps = [_by_name(config, h)]
    if rate is not None:
        steps.append(_on_first_kernel(rate))
    if eps is not None and uses_setting(config, "first_kernel_eps"):
        # One optimizer for all parameters keeps the bits of the others, and g/e over
        # √(v/e²) + ε is g over √v + eε.
        divisor = jnp.sqrt(eps) if config.optimizer in EPS_IN_ROOT else eps
        steps.insert(0, _on_first_kernel(1 / divisor))
    return optax.chain(*steps) if len(steps) > 1 else steps[0]


def _on_first_kernel(factor: Any) -> optax.GradientTransformation:
    return optax.stateless(lambda updates, _: scale_first_kernel(updates, factor))


def scale_first_kernel(params: Any, factor: Any) -> Any:
    """Returns parameters, or what has their form, the first kernel times ``factor``."""
    return tree_map_with_path(
        lambda path, x: x * factor if path == FIRST_KERNEL else x, params
    )


def _by_name(config: Config, h: Hparams) -> optax.GradientTransformation:
    rate = h.learning_rate
    makers = {
        "sgd": lambda: optax.sgd(rate),
        "momentum": lambda: optax.sgd(rate, h.momentum),
        "nesterov": lambda: optax.sgd(rate, h.momentum, nesterov=True),
        "rmsprop": lambda: optax.rmsprop(rate, h.decay, h.eps),
        "adagrad": lambda: optax.adagrad(rate, h.initial_accumulator_value, h.eps),
        "adam": lambda: optax.adam(rate, h.b1, h.b2, h.eps),
        "adamw": lambda: optax.adamw(
            rate, h.b1, h.b2, h.eps, weight_decay=h.weight_decay
        ),
        "lion": lambda: optax.lion(rate, h.b1, h.b2, weight_decay=h.weight_decay),
    }
    return makers[config.optimizer]()
