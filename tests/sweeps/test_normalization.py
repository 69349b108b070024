"""Sweeps whose images are normalized: in advance, or in each step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax import (
    Config,
    Data,
    Dataset,
    Hparams,
    Probe,
    UserError,
    plan,
    sweep,
    training,
)
from fmnist_jax.choices import NORMALIZATIONS
from fmnist_jax.sweeps import checks, initial_sharpness, program_data
from fmnist_jax.sweeps.engine import run_groups_resumably
from fmnist_jax.sweeps.labelling import join
from fmnist_jax.sweeps.run_batch import checkpoint
from tests.sweeps.runs import CONFIG, HPARAMS, SEED, make_data

SHORT = dataclasses.replace(CONFIG, num_epochs=2)
WITHOUT_DIVISOR = dataclasses.replace(HPARAMS, divisor=None)
DATA = Data(make_data(64, 0), make_data(40, 1))
WHITE = dataclasses.replace(SHORT, normalization="whiten", whitening_eps=0.3)
METRICS = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")


@pytest.mark.slow
def test_a_sweep_of_normalizations_is_each_run_alone() -> None:
    axes = {"normalization": list(NORMALIZATIONS), "seed": [SEED]}
    swept = sweep(axes, DATA, SHORT, WITHOUT_DIVISOR)
    assert swept.divisor.dims == ("normalization",)
    assert swept.divisor.values.tolist() == [255, *[1] * (len(NORMALIZATIONS) - 1)]
    for name in NORMALIZATIONS:
        config = dataclasses.replace(SHORT, normalization=name)
        _, alone = training.train(config, WITHOUT_DIVISOR, SEED, DATA)
        runs = swept.sel(normalization=name, seed=SEED)
        # Whitened in advance: other rounding errors, which Adam amplifies.
        rtol = 1e-3 if name == "whiten" else 2e-5
        for metric in METRICS:
            np.testing.assert_allclose(
                runs[metric], alone[metric], rtol=rtol, err_msg=f"{name} {metric}"
            )


@pytest.mark.slow
def test_unit_is_division_by_255() -> None:
    """To the last digit of float32: processors differ in how they divide."""
    unit = sweep({}, DATA, dataclasses.replace(SHORT, normalization="unit"))
    for hparams in (Hparams(), Hparams(divisor=255.0)):
        runs = sweep({}, DATA, SHORT, hparams)
        for metric in METRICS:
            np.testing.assert_allclose(runs[metric], unit[metric], rtol=1e-6)


@pytest.mark.slow
def test_images_are_whitened_in_advance_where_memory_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert program_data.is_applied_in_advance(WHITE, DATA, 2)
    planned = plan({}, WHITE, WITHOUT_DIVISOR)
    shapes = program_data.shapes(WHITE, DATA, planned)
    assert shapes.splits.train.images.dtype == np.float32
    assert jax.tree.leaves(shapes.normalization) == []
    axes = {"divisor": [1.0, 2.0], "seed": range(3)}
    in_advance = sweep(axes, DATA, WHITE, WITHOUT_DIVISOR)
    monkeypatch.setattr(program_data, "WHITENED_SHARE", 0)
    stored = program_data.shapes(WHITE, DATA, planned)
    assert stored.splits.train.images.dtype == np.uint8
    in_steps = sweep(axes, DATA, WHITE, WITHOUT_DIVISOR)
    for metric in METRICS:
        np.testing.assert_allclose(in_advance[metric], in_steps[metric], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("share", [1.0, 0.0])
def test_probes_take_images_as_stored(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the normalization, wherever it is applied."""
    monkeypatch.setattr(program_data, "WHITENED_SHARE", share)

    def measured(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
        logits, _ = training.forward(config, hparams, state, None, batch.images, False)
        return {"pixels": batch.images.sum(), "first_logit": logits[0, 0]}

    probes = [Probe(measured, when, examples=16) for when in ("init", "epoch", "end")]
    for probe in probes:
        runs = sweep({}, DATA, WHITE, WITHOUT_DIVISOR, [probe])
        assert (runs.pixels == DATA.train.images[:16].astype(int).sum()).all()
        if probe.when == "end":
            state, _ = training.train(WHITE, WITHOUT_DIVISOR, 0, DATA)
            images = DATA.train.images[:1]
            logits, _ = training.forward(
                WHITE, WITHOUT_DIVISOR, state, None, jnp.asarray(images), False
            )
            np.testing.assert_allclose(runs.first_logit, logits[0, 0], rtol=1e-3)


def test_normalizations_share_the_statistics_of_one_pass() -> None:
    data = Data(DATA.train, DATA.test)
    first = program_data.fitted(WHITE, data)
    assert (
        program_data.fitted(dataclasses.replace(WHITE, loss="clipped"), data) is first
    )
    other = dataclasses.replace(WHITE, whitening="pca")
    assert program_data.fitted(other, data) is not first


@pytest.mark.slow
def test_a_whitened_group_resumes_from_its_checkpoint() -> None:
    planned = plan({"seed": range(3)}, WHITE, WITHOUT_DIVISOR, 2)
    whole = sweep({"seed": range(3)}, DATA, WHITE, WITHOUT_DIVISOR)

    _, steps = next(iter(run_groups_resumably(planned, DATA)))
    part, batch = next(steps)
    assert batch is not None
    saved = checkpoint([part], batch)
    _, rest = next(iter(run_groups_resumably(planned, DATA, checkpoints={0: saved})))
    resumed = join(planned, [part, *(later for later, _ in rest)], DATA)
    for metric in METRICS:
        np.testing.assert_array_equal(resumed[metric], whole[metric])


@pytest.mark.slow
@pytest.mark.parametrize("normalization", ["standard", "whiten"])
def test_theory_uses_the_statistics_of_the_whole_training_set(
    normalization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although it is computed from the first examples."""
    monkeypatch.setattr(initial_sharpness, "EXAMPLES", 32)
    config = dataclasses.replace(SHORT, normalization=normalization)
    planned = plan({}, config, WITHOUT_DIVISOR)
    fitted = program_data.fitted(config, DATA)
    assert fitted is not None

    def before(part: Dataset) -> Dataset:
        return part._replace(images=np.asarray(training.normalize(fitted, part.images)))

    manual = Data(before(DATA.train), before(DATA.test))
    divided = dataclasses.replace(HPARAMS, divisor=1.0)
    expected_plan = plan({}, SHORT, divided)
    for measure in (
        initial_sharpness.initial_sharpness,
        initial_sharpness.activation_stable_rates,
    ):
        actual, expected = measure(planned, DATA), measure(expected_plan, manual)
        assert actual.keys() == expected.keys()
        for name in set(actual) - {"sharpness_residual"}:
            np.testing.assert_allclose(actual[name], expected[name], rtol=1e-3)


@pytest.mark.parametrize("name", ["whitening", "whitening_eps"])
def test_settings_of_whitening_need_it(name: str) -> None:
    values = {"whitening": ["zca", "pca"], "whitening_eps": [0.1, 0.2]}[name]
    with pytest.raises(UserError, match="it needs --normalizations=whiten"):
        sweep({name: values}, DATA, SHORT, HPARAMS)
    axes = {"normalization": ["none", "whiten"], name: values}
    runs = plan(axes, Config(), Hparams())
    assert (runs.num_programs, runs.num_distinct_runs) == (3, 3)


@pytest.mark.slow
def test_a_rescaled_first_layer_replaces_a_divisor_of_normalized_images() -> None:
    """Bit for bit at a power of 2, as without a normalization."""
    config = dataclasses.replace(SHORT, normalization="standard", optimizer="sgd")
    divided = Hparams(divisor=16.0, offset=0.25, learning_rate=0.5)
    rescaled = Hparams(
        offset=0.25,
        learning_rate=0.5,
        first_kernel_scale=1 / 16,
        first_kernel_rate=1 / 256,
    )
    first, second = (sweep({}, DATA, config, h) for h in (divided, rescaled))
    assert np.isfinite(first.train_loss).all()
    np.testing.assert_allclose(first.train_loss, second.train_loss, rtol=1e-6)


def test_images_that_a_later_program_cannot_normalize_are_refused_at_once() -> None:
    images = np.zeros((8, 65, 64), np.uint8)
    split = Dataset(images, np.arange(8, dtype=np.int32) % 2)
    large = Data(split, split)
    config = dataclasses.replace(SHORT, batch_size=4)
    planned = plan({"normalization": ["none", "whiten"]}, config, Hparams(), data=large)
    assert [group.config.normalization for group in planned.groups] == [
        "none",
        "whiten",
    ]
    with pytest.raises(UserError, match="at most 4,096 pixels"):
        checks.check_plan(planned, large, num_devices=2)
