"""Groups that are left and gone on with, and the files that they are kept in."""

import dataclasses
import functools
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from fmnist_jax import parts
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data import Data
from fmnist_jax.diagnostics import Probe
from fmnist_jax.joining import Part, join
from fmnist_jax.kinds import UserError
from fmnist_jax.parts import Kept
from fmnist_jax.planning import Plan, plan
from fmnist_jax.seats import halfway
from fmnist_jax.sweeping import run_groups, run_stepwise

CONFIG = Config(hidden_sizes=(8,), num_epochs=4, batch_size=50)


def stopped_after(todo: Plan, data: Data, epochs: int, path: Path) -> None:
    """Runs the first group for some epochs, and keeps where it is in a file."""
    kept: list[Part] = []
    _, steps = next(run_stepwise(todo, data))
    for part, seats in steps:
        kept.append(part)
        if part.epoch == epochs:
            assert seats is not None
            parts.write(path, Kept(kept, halfway(part, seats)), "plan")
            return


def gone_on(todo: Plan, data: Data, path: Path) -> xr.Dataset:
    kept = parts.read(path, "plan")
    assert kept.left is not None
    found = list(kept.parts)
    for _, steps in run_stepwise(todo, data, begun={0: kept.left}):
        found += [part for part, _ in steps]
    return join(todo, found, data)


def assert_same(one: xr.Dataset, other: xr.Dataset) -> None:
    """Bit for bit, NaN included."""
    assert list(one.variables) == list(other.variables)
    for name, values in one.variables.items():
        assert values.dtype == other.variables[name].dtype, name
        assert values.values.tobytes() == other.variables[name].values.tobytes(), name


def first_weights(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
    return {"w": state.params["Dense_0"]["kernel"][:3, 0]}


# Settings, axes, probes, and the epoch after which the first group is left.
SWEEPS: dict[str, tuple[Config, dict[str, Any], tuple[Probe, ...], int]] = {
    "two groups": (CONFIG, {"loss": ["softmax", "clipped"]}, (), 1),
    "all that a state can hold": (
        dataclasses.replace(CONFIG, schedule="plateau", batch_norm="on"),
        {"dropout_rate": [0.5], "target_accuracy": [0.2], "plateau_patience": [0.0]},
        (Probe(first_weights, "end", {"w": ("input",)}),),
        2,
    ),
    "some runs have left": (
        dataclasses.replace(CONFIG, optimizer="sgd"),
        {"learning_rate": [1e-2, *(10.0**n for n in range(30, 36)), 1e-1]},
        (),
        3,
    ),
    "all runs have left": (
        dataclasses.replace(CONFIG, optimizer="sgd"),
        {"learning_rate": [1e30, 1e31]},
        (),
        3,
    ),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_group_goes_on_bit_for_bit(name: str, small: Data, tmp_path: Path) -> None:
    config, axes, probes, epoch = SWEEPS[name]
    todo = plan({**axes, "seed": [3, 1]}, config, Hparams(), 2, probes=probes)
    whole = join(todo, run_groups(todo, small), small)
    stopped_after(todo, small, epoch, tmp_path / "part")
    assert_same(gone_on(todo, small, tmp_path / "part"), whole)


def test_the_last_epoch_cannot_be_left(small: Data) -> None:
    """So that what is left of a group holds no memory while the next one runs."""
    todo = plan({"seed": [0, 1]}, CONFIG, Hparams(), 2)
    _, steps = next(run_stepwise(todo, small))
    assert [seats is not None for _, seats in steps] == [True] * 3 + [False]


def example() -> Kept:
    rng = np.random.default_rng(0)
    values: dict[str, np.ndarray] = {
        "loss": rng.normal(size=3).astype(np.float32),
        "n": np.arange(3),
    }
    two = [Part(5, (4, 7, 1), epoch, values) for epoch in (1, 2)]
    state: list[np.ndarray] = [
        np.asarray(3.5, np.float32),
        np.zeros((2, 0, 3)),
        np.array([True, False]),
    ]
    empty = np.arange(0)
    return Kept(
        [Part(5, (4, 7, 1), None, {"w": np.eye(3)}), *two],
        parts.Halfway(2, values, empty, state),
    )


def assert_example(found: Kept) -> None:
    expected = example()
    leaves = [jax.tree.leaves(each) for each in (found, expected)]
    for one, other in zip(*leaves, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.asarray(one).dtype == np.asarray(other).dtype
    structures: list[Any] = [jax.tree.structure(each) for each in (found, expected)]
    assert structures[0] == structures[1]


def test_part_files_give_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "0-5.part"
    parts.write(path, example(), "plan")
    assert_example(parts.read(path, "plan"))
    assert [each.name for each in tmp_path.iterdir()] == ["0-5.part"]
    with pytest.raises(UserError, match="holds something else"):
        parts.read(path, "another plan")
    path.rename(tmp_path / "0-6.part")
    with pytest.raises(UserError, match="holds something else"):
        parts.read(tmp_path / "0-6.part", "plan")
    with pytest.raises(UserError, match=r"0-5\.part cannot be read: No such file"):
        parts.read(path, "plan")


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Returns content with one thing wrong."""
    at = rng.randrange(len(content))
    length = rng.randrange(1, 50)
    return rng.choice(
        [
            content[:at],
            content[:at]
            + bytes([content[at] ^ 1 << rng.randrange(8)])
            + content[at + 1 :],
            content[:at] + rng.randbytes(length) + content[at + length :],
            content[:at] + rng.randbytes(length) + content[at:],
            content[:at] + content[at + length :],
            content + rng.randbytes(length),
            bytes(len(content)),
            rng.randbytes(len(content)),
            content * 2,
        ]
    )


def test_damaged_part_files_are_never_read(tmp_path: Path) -> None:
    path, rng = tmp_path / "0-5.part", random.Random(0)
    parts.write(path, example(), "plan")
    content, refused = path.read_bytes(), 0
    every_byte = [
        content[:i] + bytes([content[i] ^ 255]) + content[i + 1 :]
        for i in range(len(content))
    ]
    every_end = [content[:i] for i in range(len(content))]
    cases = [*every_byte, *every_end, *(damaged(content, rng) for _ in range(500))]
    for case in cases:
        path.write_bytes(case)
        if case == content:  # what was put there happened to be the same
            assert_example(parts.read(path, "plan"))
            continue
        with pytest.raises(UserError) as error:
            parts.read(path, "plan")
        assert "\n" not in str(error.value)
        refused += 1
    assert refused > len(cases) - 10
    assert refused > 1500


def sealed(head: bytes, body: bytes = b"") -> bytes:
    content = head + b"\n" + body
    return content + hashlib.sha256(content).digest()


def test_files_of_others_with_a_right_sum_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    whole: dict[str, Any] = {
        "plan": "plan",
        "name": "x.part",
        "parts": [],
        "left": None,
        "arrays": [],
    }
    path.write_bytes(sealed(json.dumps(whole).encode()))
    assert parts.read(path, "plan") == Kept([])
    wrong: list[dict[str, Any]] = [
        {"parts": [[0, [0], 1, ["loss"]]]},  # lists no array
        {"arrays": [["<f4", [2**60]]]},
        {"arrays": [["O", [1]]]},
        {"arrays": "x"},
        {"left": [1, [], 1]},
        {"parts": 3},
    ]
    bodies = [json.dumps(whole | each).encode() for each in wrong]
    for head in [*bodies, b"", b"[1]", b"null", b"[" * 100_000, b"\xff", b"1e999"]:
        path.write_bytes(sealed(head, bytes(8)))
        with pytest.raises(UserError, match="no part of a sweep") as error:
            parts.read(path, "plan")
        assert "\n" not in str(error.value)


ENVIRONMENT = {"jax": "0.10.2", "platform": "cpu"}


def described(todo: Plan, data: Data) -> dict[str, Any]:
    return parts.described(todo, data, ENVIRONMENT)


def other_weights(*args: Any) -> Any:
    return first_weights(*args)


def test_plans_are_told_apart_by_what_their_probes_compute(small: Data) -> None:
    dims = {"w": ("input",)}
    sweeps = [
        described(plan({}, CONFIG, Hparams(), probes=[probe]), small)
        for probe in (
            Probe(first_weights, "end", dims),
            Probe(other_weights, "end", dims),
            Probe(first_weights, "end", {"w": ("unit",)}),
            Probe(functools.partial(first_weights), "end", dims),
        )
    ]
    assert "tests.test_parts.first_weights" in sweeps[0]["probes"][0]
    for other in sweeps[1:]:
        assert parts.difference(sweeps[0], other) == "the probes are not the same"
        assert parts.digest(sweeps[0]) != parts.digest(other)
    assert parts.difference(sweeps[0], sweeps[0]) is None


def test_plans_are_told_apart_by_versions_and_platform(small: Data) -> None:
    todo = plan({}, CONFIG, Hparams())
    here = described(todo, small)
    for there, expected in [
        ({"jax": "0.10.1"}, "jax is 0.10.1 there and 0.10.2 here"),
        ({"platform": "gpu"}, "platform is gpu there and cpu here"),
    ]:
        other = parts.described(todo, small, {**ENVIRONMENT, **there})
        assert parts.difference(other, here) == expected
        assert parts.digest(other) != parts.digest(here)
    older = {name: each for name, each in here.items() if name != "environment"}
    assert parts.difference(older, here) == (
        "jax is not recorded there and 0.10.2 here"
    )


def test_plans_are_told_apart_by_what_decides_results(small: Data) -> None:
    axes = {"divisor": [1.0, 255.0], "loss": ["clipped", "softmax"], "seed": range(3)}
    todo = plan(axes, CONFIG, Hparams(), 2)
    one = described(todo, small)
    assert one == json.loads(json.dumps(one))
    assert parts.as_described(todo, one) == todo
    narrow = plan(axes, CONFIG, Hparams(), 1, max_width=1)
    assert parts.as_described(narrow, one) == todo
    assert parts.difference(one, described(narrow, small)) is None
    for changed, expected in [
        (({**axes, "divisor": [1.0, 2.0]}, CONFIG), "divisor is 1,255 there and 1,2 h"),
        (({**axes, "seed": range(4)}, CONFIG), "seed is 3 seeds there and 4 seeds"),
        ((axes, dataclasses.replace(CONFIG, num_epochs=5)), "num_epochs is 4 there a"),
        ((dict(list(axes.items())[::-1]), CONFIG), "the axes have another order"),
    ]:
        other = described(plan(*changed, Hparams(), 2), small)
        assert expected in str(parts.difference(one, other))
    other = described(plan(axes, CONFIG, Hparams(b1=0.5), 2), small)
    assert parts.difference(one, other) == "b1 is the default there and 0.5 here"
    probe = Probe(lambda *_: {"one": jnp.ones(())})
    other = described(plan(axes, CONFIG, Hparams(), 2, probes=[probe]), small)
    assert parts.difference(one, other) == "the probes are not the same"
    images = small.train.images.copy()
    images[7, 3, 3] ^= 1
    data = dataclasses.replace(small, train=small.train._replace(images=images))
    assert parts.difference(one, described(todo, data)) == ("the data are not the same")


def test_damaged_plans_are_never_read(tmp_path: Path, small: Data) -> None:
    path, rng = tmp_path / "plan.json", random.Random(0)
    assert parts.read_plan(path) is None
    content = [described(plan({"seed": range(9)}, CONFIG, Hparams()), small)]
    parts.write_plan(path, content)
    assert parts.read_plan(path) == content
    whole, refused = path.read_bytes(), 0
    for _ in range(1000):
        path.write_bytes(damaged(whole, rng))
        try:
            found = parts.read_plan(path)
        except UserError as error:
            refused += str(error) == f"{path} is damaged."
        else:  # spaces and the spelling of a number mean nothing
            assert found == content
    assert refused > 900
