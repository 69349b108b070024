"""Limits for all data files: errors become one line, and memory is limited."""

import contextlib
from collections.abc import Iterator

from fmnist_jax.devices import host_bytes
from fmnist_jax.errors import UserError, reason

MAX_BYTES = 8 * 2**30


def check(location: object, size: int) -> None:
    """Raises UserError if arrays of ``size`` bytes are over the limit."""
    limit = min(MAX_BYTES, host_bytes() // 2)
    if size > limit:
        raise UserError(
            f"{location} is too large: reading it takes {size:,} bytes; the limit is "
            f"{limit:,} (8 GiB, or half of the memory)."
        )


@contextlib.contextmanager
def explaining(location: object) -> Iterator[None]:
    """Turns the various exceptions that damaged files cause into UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{location} cannot be read: {reason(error)}.") from error
