"""Random keys of a state as numbers, which NumPy and files can hold, and back.

An optimizer of the user's may hold random keys (``optax.add_noise`` does).
"""

from typing import Any

import jax
from jax.dtypes import issubdtype, prng_key


def without_keys(tree: Any) -> Any:
    """Returns a tree of arrays with the numbers of each random key in its place."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)


def with_keys(tree: Any, like: Any) -> Any:
    """Returns what ``without_keys`` was given.

    ``like`` has arrays, or their shapes and types, with random keys in the same places.
    """

    def restored(x: Any, old: Any) -> Any:
        if not _is_key(old):
            return x
        return jax.random.wrap_key_data(x, impl=_implementation(old))

    return jax.tree.map(restored, tree, like)


def _is_key(x: Any) -> bool:
    return bool(issubdtype(x.dtype, prng_key))


def _implementation(key: Any) -> Any:
    """Returns the implementation of a key, of which only the type need be known."""
    names: list[Any] = []
    jax.eval_shape(lambda traced: names.append(jax.random.key_impl(traced)), key)
    return names[0]
