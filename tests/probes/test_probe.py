"""What probes may return, and under which names it is saved."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax import Config, Probe, UserError, forward, sweep
from fmnist_jax.analysis import results
from fmnist_jax.data.dataset import Data
from fmnist_jax.probes.probe import flattened


def test_nested_dicts_have_joined_names() -> None:
    output = {
        "a": {"b": {"c": np.arange(3)}, "d": 1.5},
        "e": (jnp.zeros(2), 3),
        "f": True,
        "none": None,
    }
    values = flattened(output)
    assert list(values) == ["a.b.c", "a.d", "e.0", "e.1", "f"]
    assert values["a.d"] == 1.5
    np.testing.assert_array_equal(values["a.b.c"], [0, 1, 2])


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({"a": {"b": "text"}}, r"'a.b' is a str; expected an array or a number"),
        ({"a": len}, "'a' is a builtin_function_or_method; expected an array"),
        ({"a.b": 1, "a": {"b": 2}}, "'a.b' occurs twice; give it another name"),
        ({"a/b": 1}, "'a/b' contains a slash; give"),
    ],
)
def test_other_outputs_are_refused(output: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        flattened(output)


@pytest.mark.slow
def test_nested_outputs_are_saved_and_read_again(small: Data, tmp_path: Path) -> None:
    def record(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
        params = {name: layer["bias"][:2] for name, layer in state.params.items()}
        return {"biases": params, "loss": {"rate": jnp.asarray(hparams.learning_rate)}}

    dims = {"biases.Dense_0": ("unit",), "biases.Dense_1": ("unit",)}
    config = Config(hidden_sizes=(4,), num_epochs=2)
    axes = {"learning_rate": [0.5, 0.25]}
    ds = sweep(axes, small, config, probes=[Probe(record, dims=dims)])
    assert ds["biases.Dense_1"].dims == ("learning_rate", "seed", "epoch", "unit")
    assert ds["loss.rate"].values.tolist() == [[[0.5, 0.5]], [[0.25, 0.25]]]
    results.save(ds, tmp_path, {})
    saved = results.load(tmp_path)
    for name in ("biases.Dense_0", "biases.Dense_1", "loss.rate"):
        np.testing.assert_array_equal(saved[name], ds[name])
    text = saved["loss.rate"].to_dataframe().to_csv()
    assert text.splitlines()[0].endswith(",loss.rate")


@pytest.mark.slow
@pytest.mark.parametrize("normalization", ["none", "whiten"])
def test_a_probe_may_take_test_or_validation_images(
    small: Data, normalization: str
) -> None:
    """At the end, its accuracy over the whole set is the recorded one."""

    def accuracy_of(name: str) -> Probe:
        def function(
            config: Config, hparams: Any, state: Any, key: Any, batch: Any
        ) -> Any:
            logits = forward(config, hparams, state, None, batch.images, False)[0]
            is_correct = jnp.argmax(logits, axis=-1) == batch.labels
            return {name: is_correct.mean(), f"{name}_images": len(batch.labels)}

        split = name.removeprefix("own_")
        return Probe(function, when="end", examples=10**6, split=split)

    data = small.with_validation(20)
    probes = [accuracy_of(f"own_{name}") for name in ("test", "validation", "train")]
    config = Config(num_epochs=2, hidden_sizes=(8,), normalization=normalization)
    results = sweep({"seed": range(2)}, data, config, probes=probes)
    for name in ("test", "validation", "train"):
        recorded = results[f"{name}_accuracy"].isel(epoch=-1)
        np.testing.assert_allclose(results[f"own_{name}"], recorded, rtol=1e-6)
        assert (results[f"own_{name}_images"] == len(getattr(data, name).labels)).all()
    with pytest.raises(UserError, match="takes validation images, but the data has"):
        sweep({"seed": [0]}, small, config, probes=probes)
    with pytest.raises(UserError, match=r"Probe\.split 'tests'.*Did you mean test\?"):
        Probe(probes[0].function, split="tests")
