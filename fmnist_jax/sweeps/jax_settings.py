"""The settings of JAX under which sweeps run, whatever those of the program are."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def usual_settings() -> Iterator[None]:
    """Overrides, in this thread, settings of JAX under which a sweep would fail.

    Divergence is a result, so NaN and infinity are no errors. The library mixes types
    and copies arrays to devices. The check for leaked tracers takes hours.
    """
    with (
        jax.debug_nans(False),
        jax.debug_infs(False),
        jax.numpy_dtype_promotion("standard"),
        jax.transfer_guard("allow"),
        jax.check_tracer_leaks(False),
    ):
        yield
