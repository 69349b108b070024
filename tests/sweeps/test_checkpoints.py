"""Groups that are interrupted and resumed, and their checkpoint files."""

import dataclasses
import functools
import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError
from fmnist_jax.probes.probe import Probe
from fmnist_jax.sweeps import checkpoints, engine
from fmnist_jax.sweeps.checkpoints import Checkpoint, Part
from fmnist_jax.sweeps.engine import run_groups, run_groups_resumably
from fmnist_jax.sweeps.fingerprint import fingerprint
from fmnist_jax.sweeps.labelling import join
from fmnist_jax.sweeps.planning import Plan, plan
from fmnist_jax.sweeps.run_batch import checkpoint

DAMAGED = "is damaged or was written by another version."
CONFIG = Config(hidden_sizes=(8,), num_epochs=4, batch_size=50)


def interrupt_after(epochs: int, sweep: Plan, data: Data, path: Path) -> None:
    """Runs the first group for some epochs, and saves its checkpoint."""
    parts: list[Part] = []
    _, steps = next(run_groups_resumably(sweep, data))
    for part, batch in steps:
        parts.append(part)
        if part.epoch == epochs:
            assert batch is not None
            checkpoints.write(path, checkpoint(parts, batch), "plan")
            return


def resume(sweep: Plan, data: Data, path: Path) -> xr.Dataset:
    saved = checkpoints.read(path, "plan")
    assert not saved.is_finished
    parts = list(saved.parts)
    for _, steps in run_groups_resumably(sweep, data, checkpoints={0: saved}):
        parts += [part for part, _ in steps]
    return join(sweep, parts, data)


def assert_same(one: xr.Dataset, other: xr.Dataset) -> None:
    """Bit for bit, NaN included."""
    assert list(one.variables) == list(other.variables)
    for name, values in one.variables.items():
        assert values.dtype == other.variables[name].dtype, name
        assert values.values.tobytes() == other.variables[name].values.tobytes(), name


def first_weights(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
    return {"w": state.params["Dense_0"]["kernel"][:3, 0]}


# Settings, axes, probes, and the epoch after which the first group is interrupted.
SWEEPS: dict[str, tuple[Config, dict[str, Any], tuple[Probe, ...], int]] = {
    "two groups": (CONFIG, {"loss": ["softmax", "clipped"]}, (), 1),
    "every field of the state": (
        dataclasses.replace(CONFIG, schedule="plateau", batch_norm="on"),
        {"dropout_rate": [0.5], "target_accuracy": [0.2], "plateau_patience": [0.0]},
        (Probe(first_weights, "end", {"w": ("input",)}),),
        2,
    ),
    "some runs are finished": (
        dataclasses.replace(CONFIG, optimizer="sgd"),
        {"learning_rate": [1e-2, *(10.0**n for n in range(30, 36)), 1e-1]},
        (),
        3,
    ),
    "all runs are finished": (
        dataclasses.replace(CONFIG, optimizer="sgd"),
        {"learning_rate": [1e30, 1e31]},
        (),
        3,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_a_group_resumes_bit_for_bit(
    name: str, small: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished runs leave the batch, whatever another program costs."""
    monkeypatch.setattr(engine, "seconds_left", lambda *_: 1e9)
    config, axes, probes, epoch = SWEEPS[name]
    sweep = plan({**axes, "seed": [3, 1]}, config, Hparams(), 2, probes=probes)
    whole = join(sweep, run_groups(sweep, small), small)
    interrupt_after(epoch, sweep, small, tmp_path / "part")
    assert_same(resume(sweep, small, tmp_path / "part"), whole)


@pytest.mark.slow
def test_a_group_cannot_be_resumed_after_its_last_epoch(small: Data) -> None:
    """Otherwise its batch would take memory while the next group runs."""
    sweep = plan({"seed": [0, 1]}, CONFIG, Hparams(), 2)
    _, steps = next(run_groups_resumably(sweep, small))
    assert [batch is not None for _, batch in steps] == [True] * 3 + [False]


def example() -> Checkpoint:
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
    first = Part(5, (4, 7, 1), None, {"w": np.eye(3)})
    return Checkpoint([first, *two], np.arange(0), state)


def assert_example(saved: Checkpoint) -> None:
    expected = example()
    leaves = [jax.tree.leaves(one) for one in (saved, expected)]
    for one, other in zip(*leaves, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.asarray(one).dtype == np.asarray(other).dtype
    structures: list[Any] = [jax.tree.structure(one) for one in (saved, expected)]
    assert structures[0] == structures[1]


def test_checkpoint_files_return_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "0-5.part"
    checkpoints.write(path, example(), "plan")
    assert_example(checkpoints.read(path, "plan"))
    assert [file.name for file in tmp_path.iterdir()] == ["0-5.part"]
    with pytest.raises(UserError, match="belongs to another sweep"):
        checkpoints.read(path, "another plan")
    path.rename(tmp_path / "0-6.part")
    with pytest.raises(UserError, match="belongs to another sweep"):
        checkpoints.read(tmp_path / "0-6.part", "plan")
    with pytest.raises(UserError, match=r"0-5\.part cannot be read: No such file"):
        checkpoints.read(path, "plan")


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


def test_damaged_checkpoint_files_are_never_read(tmp_path: Path) -> None:
    path, rng = tmp_path / "0-5.part", random.Random(0)
    checkpoints.write(path, example(), "plan")
    content, refused = path.read_bytes(), 0
    every_byte = [
        content[:i] + bytes([content[i] ^ 255]) + content[i + 1 :]
        for i in range(len(content))
    ]
    every_end = [content[:i] for i in range(len(content))]
    cases = [*every_byte, *every_end, *(damaged(content, rng) for _ in range(500))]
    for case in cases:
        path.write_bytes(case)
        if case == content:  # the random bytes happened to be the same
            assert_example(checkpoints.read(path, "plan"))
            continue
        with pytest.raises(UserError) as error:
            checkpoints.read(path, "plan")
        assert "\n" not in str(error.value)
        refused += 1
    assert refused > len(cases) - 10
    assert refused > 1500


def sealed(head: bytes, body: bytes = b"") -> bytes:
    content = head + b"\n" + body
    return content + hashlib.sha256(content).digest()


def test_foreign_files_with_a_right_sum_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    whole: dict[str, Any] = {
        "plan": "plan",
        "name": "x.part",
        "parts": [],
        "finished": True,
        "arrays": [],
    }
    path.write_bytes(sealed(json.dumps(whole).encode()))
    assert checkpoints.read(path, "plan") == Checkpoint([])
    wrong: list[dict[str, Any]] = [
        {"parts": [[0, [0], 1, ["loss"]]]},  # lists no array
        {"finished": False},
        {"parts": 3},
        {"arrays": "x"},
        {"arrays": [["uint8", [9]]]},
        {"arrays": [["uint8", [7]]]},
        {"arrays": [["uint8", [-1]]]},
        {"arrays": [["uint8", [8.0]]]},
        {
            "parts": [[0, [0], 1, ["loss", "n"]]],
            "arrays": [["uint8", [9]], ["uint8", [-1]]],
        },
        {"arrays": [["float32", [2**60]]]},
        {"arrays": [["float32", [2**62, 4]]]},
        {"arrays": [["float32", [2**80, 0]]]},
        {"arrays": [["O", [1]]]},
        {"arrays": [["O", [2**62, 4]]]},
        {"arrays": [["object", [1]]]},
        {"arrays": [["f4,(", [1]]]},
        {"arrays": [["float32,(", [1]]]},
        {"arrays": [["V8", [1]]]},
        {"arrays": [["float33", [1]]]},
        {"arrays": [[[["x", "O"]], [1]]]},
        {"arrays": [[None, [1]]]},
    ]
    bodies = [json.dumps(whole | change).encode() for change in wrong]
    for head in [*bodies, b"", b"[1]", b"null", b"[" * 100_000, b"\xff", b"1e999"]:
        for body in (bytes(8), b""):
            path.write_bytes(sealed(head, body))
            with pytest.raises(UserError) as error:
                checkpoints.read(path, "plan")
            assert (
                str(error.value)
                == f"{path} is damaged or was written by another version."
            )


def test_only_regular_files_are_read_and_only_as_far_as_their_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, message: str) -> None:
        for read in (
            functools.partial(checkpoints.read, plan_digest="plan"),
            checkpoints.read_json,
        ):
            with pytest.raises(UserError) as error:
                read(path)
            assert str(error.value) == f"{path} {message}"

    os.mkfifo(tmp_path / "fifo")
    refused(tmp_path / "fifo", "is not a file.")
    refused(tmp_path, "is not a file.")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(tmp_path / "loop", "cannot be read: Too many levels of symbolic links.")
    path = tmp_path / "0-5.part"
    checkpoints.write(path, example(), "plan")
    with open(path, "ab") as file:
        file.truncate(2**40)  # a sparse file
    refused(path, DAMAGED)
    with open(path, "wb") as file:
        file.truncate(2**40)
    monkeypatch.setattr(checkpoints, "MAX_JSON_BYTES", 2**20)
    refused(path, DAMAGED)


def test_checkpoint_files_keep_small_floats(tmp_path: Path) -> None:
    """A network of the user's may have them."""
    path, value = tmp_path / "0-0.part", np.asarray(jnp.arange(3, dtype=jnp.bfloat16))
    checkpoints.write(path, Checkpoint([Part(0, (1, 2, 3), 1, {"w": value})]), "plan")
    saved = checkpoints.read(path, "plan").parts[0].values["w"]
    assert saved.dtype == jnp.bfloat16
    assert saved.tolist() == [0, 1, 2]


def test_damaged_plans_are_never_read(tmp_path: Path, small: Data) -> None:
    path, rng = tmp_path / "plan.json", random.Random(0)
    assert checkpoints.read_json(path) is None
    sweep = plan({"seed": range(9)}, CONFIG, Hparams())
    content = [fingerprint(sweep, small, {"jax": "0.10.2"})]
    checkpoints.write_json(path, content)
    assert checkpoints.read_json(path) == content
    whole, refused = path.read_bytes(), 0
    for _ in range(1000):
        path.write_bytes(damaged(whole, rng))
        try:
            saved = checkpoints.read_json(path)
        except UserError as error:
            refused += (
                str(error) == f"{path} is damaged or was written by another version."
            )
        else:  # white space and the spelling of a number do not matter
            assert saved == content
    assert refused > 900
