"""Programs are compiled in background threads."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.sweeps import precompile, programs
from fmnist_jax.sweeps.planning import plan
from fmnist_jax.sweeps.sweep import sweep

AXES = {"hidden_sizes": [(1,), (2,), (3,)], "seed": range(6)}


class Fake:
    """A lowered program."""

    def __init__(self, size: int, compiled: list[int], gate: threading.Event) -> None:
        self.size, self.compiled, self.gate = size, compiled, gate

    def compile(self) -> None:
        if self.size == 2:
            raise RuntimeError("also raised by the call")
        if self.size == 3:
            assert self.gate.wait(60)
        self.compiled.append(self.size)


def test_each_program_is_compiled_once_and_waited_for(
    small: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[int] = []
    gate = threading.Event()

    def lower_programs(_: Any, config: Config, __: Any, width: int) -> Iterator[Fake]:
        assert width == 2
        yield Fake(config.hidden_sizes[0], compiled, gate)

    monkeypatch.setattr(precompile, "lower_programs", lower_programs)
    planned = plan(AXES, Config(), Hparams(), max_width=2)
    assert len(planned.groups) == 9
    with precompile.precompiled(planned, planned.groups, small) as wait_for:
        wait_for(planned.groups[0])
        assert compiled == [1]
        wait_for(planned.groups[3])  # fails silently
        assert compiled == [1]
        gate.set()
        wait_for(planned.groups[-1])
        assert compiled == [1, 3]
    assert compiled == [1, 3]


def test_compilation_stops_when_the_sweep_does(
    small: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Config] = []
    gate = threading.Event()

    def lower_programs(_: Any, config: Config, *__: Any) -> Iterator[Fake]:
        started.append(config)
        assert gate.wait(60)
        yield from ()

    monkeypatch.setattr(precompile, "lower_programs", lower_programs)
    monkeypatch.setattr(precompile, "num_cpu_cores", lambda: 1)
    planned = plan(AXES, Config(), Hparams())

    def leave() -> None:
        with precompile.precompiled(planned, planned.groups, small):
            threading.Timer(0.2, gate.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert len(started) <= 1


@pytest.mark.slow
def test_normalizations_by_numbers_share_a_program_with_the_bits_of_each_alone(
    small: Data,
) -> None:
    size: Callable[[], int] = programs.train_epoch_of_runs._cache_size  # type: ignore
    before, pair = size(), ["unit", "symmetric"]
    dataset = sweep({"normalization": pair}, small, Config(num_epochs=1))
    assert size() == before + 1
    for name in pair:
        alone = sweep({}, small, Config(num_epochs=1, normalization=name))
        np.testing.assert_array_equal(
            dataset.train_loss.sel(normalization=name), alone.train_loss
        )


@pytest.mark.parametrize("shape", [(28, 28), (8, 8, 3), (10,)])
def test_programs_that_differ_in_numbers_alone_are_compiled_once(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    lowered: list[str] = []

    def lower_programs(_: Any, config: Config, *__: Any) -> Iterator[Any]:
        lowered.append(config.normalization)
        return iter(())

    monkeypatch.setattr(precompile, "lower_programs", lower_programs)
    images = np.arange(4 * np.prod(shape), dtype=np.uint8).reshape(4, *shape)
    part = Dataset(images, np.arange(4, dtype=np.int32))
    names = ["none", "unit", "symmetric", "standard", "per_feature"]
    planned = plan({"normalization": names}, Config(), Hparams())
    with precompile.precompiled(planned, planned.groups, Data(part, part)) as wait_for:
        assert [wait_for(group) for group in planned.groups] == [None] * 5
    assert sorted(lowered) == ["none", "per_feature", "unit"]
