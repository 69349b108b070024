"""optax's optimizers by name; their settings come from ``Hparams``, traced or not."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.tree_util import DictKey, tree_map_with_path

from fmnist_jax.config import OPTIMIZERS, TRACED, Config, Hparams, resolve
from fmnist_jax.effects import check_first_kernel, uses_setting

# Here, because config.py imports no jax; code with traced settings imports this module.
jax.tree_util.register_dataclass(
    Hparams, data_fields=[*TRACED, "extra"], meta_fields=[]
)

FIRST_KERNEL = DictKey("Dense_0"), DictKey("kernel")  # of the built-in MLP
EPS_IN_ROOT = ("rmsprop", "adagrad")  # g / √(v + eps); Adam: g / (√v + eps)


# The value is the first argument, and the derivatives are those of x / divisor: optax's
# are 0 · ∞ = NaN for parameters whose gradients have all been 0. A primitive, because
# second derivatives of a scan ignore jax.custom_jvp.
ratio_p = Primitive("ratio")
ratio_p.def_impl(lambda value, x, divisor: value)
ratio_p.def_abstract_eval(lambda value, x, divisor: value)
mlir.register_lowering(ratio_p, lambda context, value, x, divisor: [value])
ad.defjvp2(ratio_p, None, lambda t, u, _, x, d: t / d, lambda t, u, _, x, d: -u * t / d)
batching.defbroadcasting(ratio_p)


def _root(x: jax.Array) -> jax.Array:
    """Returns √x, or ∞ (with slope 0) where x is 0."""
    return jnp.sqrt(jnp.where(x == 0, jnp.inf, x))


def _adaptive(
    function: Any, learning_rate: Any, eps: Any, weight_decay: Any = None, **others: Any
) -> optax.GradientTransformation:
    """Returns optax's optimizer around ``function``, but with finite derivatives."""
    scaling = function(eps=eps, **others)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, state = scaling.update(grads, state, params)
        if function is optax.scale_by_adam:
            x = optax.tree.bias_correction(state.mu, others["b1"], state.count)
            square = optax.tree.bias_correction(state.nu, others["b2"], state.count)
            divisor = jax.tree.map(lambda v: v / _root(v) + eps, square)
        else:
            x, divisor = grads, jax.tree.map(lambda v: _root(v + eps), state[0])
        return jax.tree.map(ratio_p.bind, updates, x, divisor), state

    decay = [] if weight_decay is None else [optax.add_decayed_weights(weight_decay)]
    transforms = optax.GradientTransformation(scaling.init, update), *decay
    return optax.chain(*transforms, optax.scale_by_learning_rate(learning_rate))


_FUNCTIONS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "momentum": optax.sgd,
    "nesterov": functools.partial(optax.sgd, nesterov=True),
    "rmsprop": functools.partial(_adaptive, optax.scale_by_rms),
    "adagrad": functools.partial(_adaptive, optax.scale_by_rss),
    "adam": functools.partial(_adaptive, optax.scale_by_adam),
    "adamw": functools.partial(_adaptive, optax.scale_by_adam),
    "lion": optax.lion,
}


def make_optimizer(config: Config, hparams: Hparams) -> optax.GradientTransformation:
    """Returns the optimizer of ``config`` with the settings of ``hparams``.

    Its settings may be traced values, because each traced function builds it; only its
    state is carried. A setting of None is the optimizer's own default.

    Training on x/d equals training on x if the first kernel starts at 1/d of its
    values, its gradients are divided by d before the optimizer, and its updates are
    divided by d after it. This holds for every optimizer without weight decay and
    penalties. The settings are ``first_kernel_scale=1/d``, and ``first_kernel_rate``
    ``1/d**2`` (sgd, momentum, nesterov) or ``1/d`` (the others), and
    ``first_kernel_eps`` ``d`` (adam, adamw) or ``d**2`` (rmsprop, adagrad).
    """
    check_first_kernel(config, hparams)
    h = resolve(config, hparams)
    if callable(config.optimizer):
        transforms = [config.optimizer(h)]
    else:
        settings = {name: getattr(h, name) for name in OPTIMIZERS[config.optimizer]}
        transforms = [_FUNCTIONS[config.optimizer](**settings)]
    rate, eps = h.first_kernel_rate, h.first_kernel_eps
    if rate is not None:
        transforms.append(optax.stateless(lambda g, _: scale_first_kernel(g, rate)))
    if eps is not None and uses_setting(config, "first_kernel_eps"):
        # One optimizer for all parameters keeps the bits of the other arrays; and g/e
        # divided by √(v/e²) + ε is g divided by √v + eε.
        divisor = jnp.sqrt(eps) if config.optimizer in EPS_IN_ROOT else eps
        before = optax.stateless(lambda g, _: scale_first_kernel(g, 1 / divisor))
        transforms.insert(0, before)
    return optax.chain(*transforms) if len(transforms) > 1 else transforms[0]


def scale_first_kernel(params: Any, factor: Any) -> Any:
    """Returns a tree like the parameters with its first kernel times ``factor``."""
    return tree_map_with_path(
        lambda p, x: x * factor if p == FIRST_KERNEL else x, params
    )
