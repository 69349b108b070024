"""optax's optimizers by name, their settings taken from ``Hparams``, traced or not."""

import jax
import optax

from fmnist_jax.config import TRACED, Config, Hparams, resolve

# config.py imports no jax; whatever takes traced settings comes by this module.
jax.tree_util.register_dataclass(Hparams, data_fields=list(TRACED), meta_fields=[])


def make_optimizer(config: Config, hparams: Hparams) -> optax.GradientTransformation:
    """Returns the optimizer of ``config`` with the settings of ``hparams``.

    It is made anew inside each traced function, so that its settings may be traced
    values: nothing but its state is ever carried. Settings left ``None`` are the
    optimizer's own defaults.
    """
    h = resolve(config, hparams)
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
