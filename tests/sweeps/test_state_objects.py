"""States are selected by settings; what is no state is refused in a line."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest
from flax import nnx

import fmnist_jax
from fmnist_jax import Config, UserError, from_nnx, sweep
from tests.sweeps.runs import CONFIG, DATA, HPARAMS

SMALL = dataclasses.replace(CONFIG, num_epochs=2)


@pytest.mark.slow
def test_states_are_selected_by_name_code_or_several_values() -> None:
    def network(width: int) -> Any:
        return from_nnx(functools.partial(Slim, width))

    axes = {"model": [network(4), network(5)], "seed": range(3)}
    config = Config(batch_size=16, num_epochs=1)
    _, states = sweep(axes, DATA, config, keep_states="all")
    assert states.settings[3] == {"model": "Slim(5)", "seed": 0}
    for model in ("Slim(5)", network(5)):
        state = states.sel(model=model, seed=0).state
        assert state.params["layer"]["kernel"].shape[-1] == 5
        assert len(states.runs(model=model, seed=[0, 2])) == 2
    assert repr(states).startswith(
        "<States of 6 runs, 0.0 MB, of a sweep over model: 2"
    )
    for select in (states.runs, states.sel):
        with pytest.raises(
            UserError, match=r"None of the 6 kept runs has seed=7; \.set"
        ):
            select(seed=7)


class Slim(nnx.Module):
    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.layer = nnx.Linear(10, width, rngs=rngs)
        self.last = nnx.Linear(width, 3, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.last(nnx.relu(self.layer(x)))


def test_wrong_objects_are_refused(tmp_path: Path) -> None:
    pair: Any = sweep({"seed": [0, 1]}, DATA, SMALL, HPARAMS, keep_states="all")
    states, images = pair[1], DATA.test.images
    config, hparams, state = run = states.sel(seed=0)
    names = "save_states load_states ensemble predict"
    save, load, combine, logits = (getattr(fmnist_jax, n) for n in names.split())
    wrong: Any = [
        (
            lambda: save(pair, tmp_path),
            "states is a tuple; expected States, the second",
        ),
        (lambda: save(run, tmp_path), "states is a Run; expected States"),
        (lambda: save(tmp_path, states), "states is a PosixPath; expected States"),
        (lambda: save(states, 3), "folder is 3; expected the path of a folder"),
        (lambda: load(tmp_path, {"model": 1}), "config is a dict; expected a Config"),
        (lambda: load(tmp_path, config, hparams), "axes is a Hparams; expected a dict"),
        (lambda: combine(states, DATA.test), "runs is a States; expected a list of"),
        (lambda: combine(run, DATA.test), "runs is a Run; expected a list of runs"),
        (lambda: combine([run, run], DATA), "dataset is a Data; expected a Dataset"),
        (lambda: logits(*run, DATA.test), "images is a Dataset; expected an array"),
        (lambda: logits(state, hparams, config, images), "config is a State; expected"),
        (
            lambda: logits(config, None, state, images),
            "hparams is a NoneType; expected",
        ),
    ]
    for call, message in wrong:
        with pytest.raises(UserError, match=message) as caught:
            call()
        assert len(str(caught.value)) < 200
