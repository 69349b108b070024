"""Fingerprints differ if anything that decides results differs."""

import copy
import dataclasses
import functools
import json
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import pytest

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.probes.probe import Probe
from fmnist_jax.sweeps.checkpoints import digest
from fmnist_jax.sweeps.fingerprint import (
    difference,
    fingerprint,
    is_fingerprint,
    regroup,
)
from fmnist_jax.sweeps.planning import Plan, plan

CONFIG = Config(hidden_sizes=(8,), num_epochs=4, batch_size=50)
ENVIRONMENT = {"jax": "0.10.2", "platform": "cpu"}
AXES = {"divisor": [1.0, 255.0], "loss": ["clipped", "softmax"], "seed": range(3)}


def of(planned: Plan, data: Data, **environment: str) -> Any:
    return fingerprint(planned, data, {**ENVIRONMENT, **environment})


def weights(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
    return {"w": state.params["Dense_0"]["kernel"][:3, 0]}


def other_weights(*args: Any) -> Any:
    return weights(*args)


def test_probes_that_differ_change_the_fingerprint(small: Data) -> None:
    dims = {"w": ("input",)}
    sweeps = [
        of(plan({}, CONFIG, Hparams(), probes=[probe]), small)
        for probe in (
            Probe(weights, "end", dims),
            Probe(other_weights, "end", dims),
            Probe(weights, "end", {"w": ("unit",)}),
            Probe(functools.partial(weights), "end", dims),
            Probe(functools.partial(other_weights), "end", dims),
        )
    ]
    assert sweeps[0]["probes"][0][0].startswith(f"{__name__}.weights ")
    assert "0x" not in str(sweeps)  # addresses do not matter
    assert len({digest(sweep) for sweep in sweeps}) == 5
    for other in sweeps[1:]:
        assert str(difference(sweeps[0], other)).startswith("the probes are")
    assert str(difference(sweeps[3], sweeps[4])).startswith("the probes are")
    assert difference(sweeps[0], sweeps[0]) is None


class Network(nn.Module):
    units: int
    activation: Any = jnp.tanh

    @nn.compact
    def __call__(self, x_BxF: Any) -> Any:
        return nn.Dense(10)(self.activation(nn.Dense(self.units)(x_BxF)))


def test_networks_that_differ_change_the_fingerprint(small: Data) -> None:
    def of_network(network: Any) -> Any:
        config = dataclasses.replace(CONFIG, model=network, hidden_sizes=(128,))
        return of(plan({}, config, Hparams()), small)

    one, again, larger = (of_network(Network(units)) for units in (8, 8, 9))
    assert difference(one, again) is None
    assert "units=8" in one["settings"]["model"]
    assert "0x" not in one["settings"]["model"]
    assert str(difference(one, larger)).startswith(
        "model is tests.sweeps.test_fingerprint.N"
    )


def test_versions_and_platform_change_the_fingerprint(small: Data) -> None:
    planned = plan({}, CONFIG, Hparams())
    here = of(planned, small)
    for environment, expected in [
        ({"jax": "0.10.1"}, "jax is 0.10.1 in the saved sweep and 0.10.2 now"),
        ({"platform": "gpu"}, "platform is gpu in the saved sweep and cpu now"),
        (
            {"XLA_FLAGS": "--x=1"},
            "XLA_FLAGS is --x=1 in the saved sweep and not set now",
        ),
    ]:
        other = of(planned, small, **environment)
        assert difference(other, here) == expected
        assert digest(other) != digest(here)


def test_axes_and_settings_change_the_fingerprint(small: Data) -> None:
    planned = plan(AXES, CONFIG, Hparams(), 2)
    one = of(planned, small)
    assert one == json.loads(json.dumps(one))
    assert regroup(planned, one) == planned
    narrow = plan(AXES, CONFIG, Hparams(), 1, max_width=1)
    assert regroup(narrow, one) == planned
    assert difference(one, of(narrow, small)) is None
    assert digest(one) != digest(of(narrow, small))
    order = (
        "the axes are divisor,loss,seed in the saved sweep and loss,divisor,seed now"
    )
    for changed, expected in [
        (
            ({**AXES, "divisor": [1.0, 2.0]}, CONFIG),
            "divisor is 1,255 in the saved sweep and 1,2 n",
        ),
        (
            ({**AXES, "seed": range(4)}, CONFIG),
            "seed is 3 seeds in the saved sweep and 4",
        ),
        (
            (AXES, dataclasses.replace(CONFIG, num_epochs=5)),
            "num_epochs is 4 in the saved sweep",
        ),
        ((dict(list(AXES.items())[::-1]), CONFIG), order),
    ]:
        other = of(plan(*changed, Hparams(), 2), small)
        assert expected in str(difference(one, other))
        assert digest(one) != digest(other)
    other = of(plan(AXES, CONFIG, Hparams(b1=0.5), 2), small)
    assert difference(one, other) == "b1 is the default in the saved sweep and 0.5 now"
    probe = Probe(lambda *_: {"one": jnp.ones(())})
    other = of(plan(AXES, CONFIG, Hparams(), 2, probes=[probe]), small)
    assert str(difference(one, other)).startswith("the probes are")


TENTHS = (1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 6e-4, 7e-4, 8e-4)


@pytest.mark.parametrize(
    ("name", "saved", "current", "expected"),
    [
        ("learning_rate", TENTHS, (*TENTHS[:5], 1.0, *TENTHS[6:]),
         "value 6 of learning_rate is 0.0006 in the saved sweep and 1.0 now"),
        ("learning_rate", TENTHS, (*TENTHS[:6], TENTHS[7], TENTHS[6]),
         "value 7 of learning_rate is 0.0007 in the saved sweep and 0.0008 now"),
        ("learning_rate", TENTHS[:2], TENTHS[1::-1],
         "learning_rate is 0.0001,0.0002 in the saved sweep and 0.0002,0.0001 now"),
        ("learning_rate", (1e-3, 1.0), (1.0000004e-3, 1.0),
         "value 1 of learning_rate is 0.001 in the saved sweep and 0.0010000004 now"),
        ("learning_rate", (1e-3,), (1.0000004e-3,),
         "learning_rate is 0.001 in the saved sweep and 0.0010000004 now"),
        ("dropout_rate", (0.0,), (-0.0,),
         "dropout_rate is 0 in the saved sweep and -0 now"),
        ("seed", (0, 1), (0, 2), "value 2 of seed is 1 in the saved sweep and 2 now"),
        ("hidden_sizes", ((8,), (9,)), ((9,), (8,)),
         "hidden_sizes is 8,9 in the saved sweep and 9,8 now"),
    ],
)  # fmt: skip
def test_every_bit_of_every_value_counts(
    name: str, saved: Any, current: Any, expected: str, small: Data
) -> None:
    one, other = (
        of(plan({name: values}, CONFIG, Hparams()), small)
        for values in (saved, current)
    )
    assert difference(one, one) is None
    assert difference(one, other) == expected
    assert digest(one) != digest(other)


def test_every_bit_of_a_setting_that_is_no_axis_counts(small: Data) -> None:
    one, other = (
        of(plan({}, CONFIG, Hparams(learning_rate=learning_rate)), small)
        for learning_rate in (1e-3, 1.0000004e-3)
    )
    assert difference(one, other) == (
        "learning_rate is 0.001 in the saved sweep and 0.0010000004 now"
    )


def test_data_that_differ_change_the_fingerprint(small: Data) -> None:
    planned = plan({}, CONFIG, Hparams())
    images = small.train.images.copy()
    images[7, 3, 3] ^= 1
    other = dataclasses.replace(small, train=small.train._replace(images=images))
    assert difference(of(planned, small), of(planned, other)) == (
        "the data are not the same"
    )
    more = dataclasses.replace(small, class_names=tuple("abcdefghijkl"))
    assert difference(of(planned, small), of(planned, more)) == (
        "num_classes is 10 in the saved sweep and 12 now"
    )


def test_no_part_of_a_fingerprint_can_change_unnoticed(small: Data) -> None:
    """Replacing any single value makes two fingerprints differ."""
    one = of(plan(AXES, CONFIG, Hparams()), small)
    count = 0
    for key in one.keys() - {"devices", "groups"}:
        paths: list[Any] = [[key]]
        while paths:
            path = paths.pop()
            other = copy.deepcopy(one)
            inner = other
            for step in path[:-1]:
                inner = inner[step]
            value = inner[path[-1]]
            if isinstance(value, (dict, list)) and value:
                steps = value if isinstance(value, dict) else range(len(value))
                paths += [[*path, step] for step in steps]
                continue
            inner[path[-1]] = f"{value}?"
            count += 1
            assert difference(one, other) is not None, path
            assert digest(one) != digest(other), path
    assert count > 50


def test_other_forms_are_no_fingerprint(small: Data) -> None:
    one = of(plan(AXES, CONFIG, Hparams(), 2), small)
    assert is_fingerprint(one)
    group = one["groups"][0]
    wrong: list[Any] = [5, None, [], {}, "x", *({k: v} for k, v in one.items())]
    wrong += [{n: v for n, v in one.items() if n != name} for name in one]
    wrong += [one | {name: 5} for name in one if name != "devices"]
    wrong += [one | {"devices": n} for n in (0, -1, 1.0, "2", None)]
    wrong += [
        one | {"axes": a} for a in (dict(one["axes"]), [], [["divisor"]], [[5, [1]]])
    ]
    for runs in ([], [*group["runs"][:-1], 99], group["runs"] * 2, ["0"], 0):
        wrong.append(one | {"groups": [group | {"runs": runs}, *one["groups"][1:]]})
    for width in (0, -1, 1, 2.0, "3", None):
        wrong.append(one | {"groups": [group | {"width": width}, *one["groups"][1:]]})
    wrong.append(one | {"groups": []})
    wrong.append(one | {"axes": [["divisor", [1]]]})
    assert [value for value in wrong if is_fingerprint(value)] == []


def test_a_fingerprint_without_some_runs_differs(small: Data) -> None:
    one = of(plan(AXES, CONFIG, Hparams(), 2), small)
    group = one["groups"][0]
    fewer = [group | {"runs": group["runs"][:1]}, *one["groups"][1:]]
    partial = one | {"groups": fewer}
    assert is_fingerprint(partial)
    assert difference(partial, one) == "the plans differ"
