"""Files and arrays to ``Data``: images and labels, checked. Imports no jax."""

from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.data.loading import load

__all__ = ["Data", "Dataset", "load"]
