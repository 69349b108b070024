"""The channel axis of images."""

import dataclasses
from typing import Any

from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError, check_is


def add_channel_axis(data: Data) -> Data:
    """Returns ``data`` with images ``[N, H, W, 1]`` instead of ``[N, H, W]``.

    Convolutions of Flax and Haiku need the axis; those of Equinox, which take
    ``[C, H, W]``, need ``x[None]`` inside the network instead.

    Raises:
      UserError: for images of another shape.
    """
    check_is("data", data, Data, "Data, as load('fashion_mnist') returns it")
    if len(data.image_shape) != 2:
        raise UserError(
            f"add_channel_axis takes images [N, H, W]; these are "
            f"[N, {', '.join(map(str, data.image_shape))}]."
        )
    splits: dict[str, Any] = {
        name: part._replace(images=part.images[..., None])
        for name, part in data.splits.by_name.items()
    }
    return dataclasses.replace(data, **splits)
