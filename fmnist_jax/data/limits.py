"""The memory that the arrays of a file may take, checked before they are read."""

from fmnist_jax.devices import host_bytes
from fmnist_jax.errors import UserError

MAX_BYTES = 8 * 2**30


def max_bytes() -> int:
    """Returns the limit on the arrays of a file: 8 GiB, or half of the memory."""
    return min(MAX_BYTES, host_bytes() // 2)


def check(location: object, size: int) -> None:
    """Raises UserError if arrays of ``size`` bytes are over the limit."""
    limit = max_bytes()
    if size > limit:
        raise UserError(
            f"{location} is too large: reading it takes {size:,} bytes; the limit is "
            f"{limit:,} (8 GiB, or half of the memory)."
        )
