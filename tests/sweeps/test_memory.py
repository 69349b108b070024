"""Predicted memory of programs, against that of larger compiled ones."""

import dataclasses
import types
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError
from fmnist_jax.probes.probe import Probe
from fmnist_jax.sweeps import engine, memory
from fmnist_jax.sweeps.memory import MemoryUse
from fmnist_jax.sweeps.planning import Plan, axis_values, plan
from fmnist_jax.sweeps.precompile import lower_programs

LARGE = 11
ONCE = Config(hidden_sizes=(8,), evaluate_train=False)


class Conv(nn.Module):
    """A network of the user's."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.avg_pool(nn.relu(nn.Conv(4, (3, 3))(x[..., None])), (2, 2), (2, 2))
        return nn.Dense(10)(x.reshape(len(x), -1))


def large(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
    return {"large": jnp.outer(batch.images[:, 0, 0] * 1.0, jnp.ones(3000))}


def larger(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
    return {"larger": jnp.outer(batch.images[:, 0, 0] * 1.0, jnp.ones(6000))}


ROW_BYTES = 4 * 200  # a float32 for each probed image
PROBES = (
    Probe(large, "epoch", {"large": ("image", "unit")}),
    Probe(larger, "end", {"larger": ("image", "unit")}),
)


def seeds(count: int, config: Config, *probes: Probe) -> Plan:
    return plan({"seed": range(count)}, config, Hparams(), 2, probes=probes)


def actual(planned: Plan, config: Config, data: Data, width: int) -> list[int]:
    """Returns the memory that the compiler reports for programs of a width."""
    return [memory._bytes(p) for p in lower_programs(planned, config, data, width)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "probes"),
    [
        ({"optimizer": "sgd"}, ()),
        ({"optimizer": "adam"}, ()),
        ({"model": Conv(), "hidden_sizes": Config().hidden_sizes}, ()),
        ({"hidden_sizes": ()}, PROBES),
    ],
    ids=["sgd", "adam", "conv", "probes"],
)
def test_two_small_programs_predict_the_memory_of_a_large_one(
    small: Data, settings: dict[str, Any], probes: tuple[Probe, ...]
) -> None:
    config = dataclasses.replace(ONCE, **settings)
    planned = seeds(30, config, *probes)
    uses = memory.memory_uses(planned, config, small)
    expected = actual(planned, config, small, LARGE)
    predicted = [use.fixed + LARGE * use.per_run for use in uses]
    assert predicted == pytest.approx(expected, rel=0.02)
    assert uses[0].fixed > small.train.images.nbytes
    if probes:  # their outputs are counted once
        by_epoch, at_end = (use.per_run for use in uses)
        assert 3000 * ROW_BYTES <= by_epoch < 6000 * ROW_BYTES
        assert 6000 * ROW_BYTES <= at_end < 9000 * ROW_BYTES


def test_inputs_outputs_and_temporaries_are_counted_once() -> None:
    x = jax.ShapeDtypeStruct((250_000,), jnp.float32)

    def in_turns(x: Any) -> Any:  # the second loop uses the result of the first
        doubled = jax.lax.fori_loop(0, 3, lambda _, y: 2 * y, x)
        return jax.lax.fori_loop(0, 3, lambda _, y: y - doubled[::-1], x)

    copied, in_place = (
        jax.jit(lambda x: x + 1),
        jax.jit(lambda x: x + 1, donate_argnums=0),
    )
    assert memory._bytes(copied.lower(x)) == pytest.approx(2e6, rel=0.01)
    assert memory._bytes(in_place.lower(x)) == pytest.approx(1e6, rel=0.01)
    assert memory._bytes(jax.jit(in_turns).lower(x)) >= 3e6


def test_the_memory_of_a_device_is_the_reported_limit() -> None:
    def device(platform: str, stats: Any) -> Any:
        return types.SimpleNamespace(platform=platform, memory_stats=lambda: stats)

    assert memory.device_bytes(device("gpu", {"bytes_limit": 5, "num_allocs": 1})) == 5
    assert memory.device_bytes(device("gpu", None)) is None
    assert memory.device_bytes(device("cpu", {"bytes_limit": 5})) is None


@pytest.mark.slow
def test_a_program_is_as_wide_as_memory_holds(small: Data) -> None:
    planned, limit = seeds(100, ONCE), 20e6
    groups = memory.fit_to_memory(planned, small, limit).groups
    assert sorted(run for g in groups for run in g.runs) == list(range(100))
    assert {g.width for g in groups} == {groups[0].width}
    usable = memory.USABLE * limit
    width = groups[0].width  # at least half of what fits
    assert actual(planned, ONCE, small, width)[0] <= usable
    assert actual(planned, ONCE, small, 2 * width + 1)[0] > usable


def test_each_program_has_its_own_width(
    small: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The width that its largest program allows."""

    def memory_uses(_: Plan, config: Config, __: Data) -> list[MemoryUse]:
        (size,) = config.hidden_sizes
        return [MemoryUse(1e6, 1e6), MemoryUse(6e6, size * 1e6)]

    monkeypatch.setattr(memory, "memory_uses", memory_uses)
    axes = {"hidden_sizes": [(1,), (5,)], "seed": range(44)}
    fitted = memory.fit_to_memory(plan(axes, ONCE, Hparams(), 2), small, 20e6)
    runs = {(g.config.hidden_sizes, g.width, len(g.runs)) for g in fitted.groups}
    assert runs == {((1,), 8, 16), ((1,), 8, 12), ((5,), 2, 4)}
    for group in fitted.groups:
        for run in group.runs:
            hidden_sizes = axis_values(fitted, run)["hidden_sizes"]
            assert hidden_sizes == group.config.hidden_sizes


def test_runs_that_do_not_fit_run_one_by_one(
    small: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = seeds(6, ONCE)
    monkeypatch.setattr(memory, "memory_uses", lambda *_: [MemoryUse(1e6, 1e3)])
    assert {g.width for g in memory.fit_to_memory(planned, small, 1e6).groups} == {1}
    monkeypatch.undo()

    def refused(*_: Any) -> Any:
        raise jax.errors.JaxRuntimeError(message)

    monkeypatch.setattr(memory, "lower_programs", refused)
    message = "RESOURCE_EXHAUSTED: out of memory in space hbm"
    assert {g.width for g in memory.fit_to_memory(planned, small, 1e12).groups} == {1}
    message = "INTERNAL: a bug"
    two = memory.fit_to_memory(seeds(2, ONCE), small, 1e12)
    assert {g.width for g in two.groups} == {1}  # without compiling
    with pytest.raises(jax.errors.JaxRuntimeError, match="a bug"):
        memory.fit_to_memory(planned, small, 1e12)


def test_sweeps_are_planned_by_the_memory_of_an_accelerator(
    small: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes, hparams = {"seed": range(60)}, Hparams()
    assert memory.device_bytes(jax.devices()[0]) is None
    by_cache = engine.plan_for_local_devices(axes, small, ONCE, hparams)
    assert by_cache == plan(axes, ONCE, hparams, 2)
    monkeypatch.setattr(memory, "device_bytes", lambda _: 20e6)
    monkeypatch.setattr(
        memory, "memory_uses", lambda *_: [MemoryUse(1e6, 1e6), MemoryUse(4e6, 3e6)]
    )
    by_memory = engine.plan_for_local_devices(axes, small, ONCE, hparams)
    assert by_memory.groups[0].width == 3 != by_cache.groups[0].width
    given = engine.plan_for_local_devices(axes, small, ONCE, hparams, max_width=2)
    assert given.groups[0].width == 2
    with pytest.raises(UserError, match="batch_size is 201"):
        engine.plan_for_local_devices(axes, small, Config(batch_size=201), hparams)
