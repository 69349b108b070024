"""Fixtures of the tests of the readers."""

import pytest

from fmnist_jax.data.official import OFFICIAL
from tests.data.data_files import Arrays, make_arrays, make_official


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> dict[str, Arrays]:
    """Two small data sets, whose check sums replace the official ones."""
    by_name = {name: make_arrays(seed) for seed, name in enumerate(OFFICIAL)}
    for name, arrays in by_name.items():
        make_official(monkeypatch, name, arrays)
    return by_name
