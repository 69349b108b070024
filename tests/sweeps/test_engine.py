import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from fmnist_jax import training
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.errors import Notice, UserError
from fmnist_jax.probes.probe import Probe
from fmnist_jax.sweeps import engine, programs
from fmnist_jax.sweeps.engine import run_groups
from fmnist_jax.sweeps.labelling import join
from fmnist_jax.sweeps.planning import plan
from fmnist_jax.sweeps.sweep import sweep
from fmnist_jax.training import loop

CONFIG = Config(hidden_sizes=(16,), num_epochs=2)
METRICS = (
    "train_loss",
    "train_penalty",
    "train_accuracy_running",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
)


@pytest.fixture(scope="module")
def swept(small: Data) -> xr.Dataset:
    axes = {
        "divisor": [1.0, 255.0, 1000.0],
        "loss": ["clipped", "softmax"],
        "seed": range(3),
    }
    return sweep(axes, small, CONFIG)


@pytest.mark.slow
def test_dimensions_are_the_axes_then_seed_then_epoch(swept: xr.Dataset) -> None:
    for name in METRICS:
        assert swept[name].dims == ("divisor", "loss", "seed", "epoch")
        assert swept[name].dtype == np.float32
    assert swept.status.dims == ("divisor", "loss", "seed")
    assert swept.divisor.values.tolist() == [1, 255, 1000]
    assert swept.loss.values.tolist() == ["clipped", "softmax"]
    assert swept.epoch.values.tolist() == [1, 2]
    assert swept.learning_rate.item() == 1e-3
    assert swept.hidden_sizes.item() == "16"
    assert "momentum" not in swept.coords  # adam has none


@functools.cache
def metrics_alone(data: Data) -> Any:
    config = dataclasses.replace(CONFIG, loss="softmax")
    return jax.jit(lambda hparams: training.train(config, hparams, 2, data)[1])


@pytest.mark.slow
@pytest.mark.parametrize("divisor", [1.0, 255.0])
def test_a_run_in_a_sweep_equals_the_same_run_alone(
    swept: xr.Dataset, small: Data, divisor: float
) -> None:
    alone = metrics_alone(small)(Hparams(divisor=divisor))
    run = swept.sel(divisor=divisor, loss="softmax", seed=2)
    # Unscaled training amplifies rounding: compare its first epoch, seven steps.
    epochs = slice(None) if divisor > 1 else slice(1)
    for name in METRICS:
        np.testing.assert_allclose(
            run[name].values[epochs], np.asarray(alone[name])[epochs],
            rtol=1e-5 if divisor > 1 else 1e-3, err_msg=name,
        )  # fmt: skip


@pytest.mark.slow
def test_classes_without_examples_are_the_same_in_a_sweep_and_alone() -> None:
    rng = np.random.RandomState(0)
    images, labels = rng.normal(size=(12, 3)), rng.randint(0, 2, 12)
    part = Dataset(images, labels)
    data = Data(part, part, class_names=("a", "b", "c", "d"))
    config = dataclasses.replace(CONFIG, num_epochs=1, batch_size=5)
    _, alone = training.train(config, Hparams(), 0, data)
    with pytest.warns(Notice):
        run = sweep({}, data, config)
    np.testing.assert_allclose(run.train_loss[0], alone["train_loss"], rtol=1e-6)
    assert (run.attrs["class_names"], run.attrs["num_classes"]) == ([*"abcd"], 4)


@pytest.mark.slow
def test_seeds_differ_and_other_axes_are_paired(small: Data) -> None:
    def record(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
        return {"w": state.params["Dense_0"]["kernel"][:3, 0]}

    probe = Probe(record, "init", {"w": ("input",)})
    axes = {"divisor": [1.0, 255.0], "optimizer": ["sgd", "adam"], "seed": [0, 1]}
    planned = plan(axes, CONFIG, Hparams(), 2, probes=[probe])
    w = np.full((8, 3), np.nan)
    for skipped in (0, 1):  # the first part of each program: nothing is trained
        part = next(run_groups(planned, small, skip={skipped}))
        w[list(part.runs)] = part.values["w"]
    seeds = w.reshape(4, 2, 3)  # the seed is the last axis
    assert (seeds == seeds[0]).all()
    assert (seeds[0, 0] != seeds[0, 1]).all()


@pytest.mark.slow
def test_a_diverged_neighbour_changes_nothing(small: Data) -> None:
    """Same width, so the same program: bit for bit."""
    config = dataclasses.replace(CONFIG, optimizer="sgd")
    calm = sweep({"learning_rate": [1e-2, 1e-1]}, small, config)
    wild = sweep({"learning_rate": [1e-2, 1e30]}, small, config)
    assert wild.status.values[1, 0] == "diverged"
    assert calm.status.values[1, 0] != "diverged"
    for name in METRICS:
        np.testing.assert_array_equal(calm[name][0], wild[name][0], err_msg=name)
    assert np.isnan(wild.test_accuracy.values[1, 0, -1])


@pytest.mark.slow
def test_images_doubled_with_divisor_doubled_is_the_same_run(small: Data) -> None:
    """Exact, as powers of two are; uint8 wraps, so that images stay below 128."""
    half = small.train.images // 2
    train = Dataset(half, small.train.labels)
    doubled = Dataset(half * 2, small.train.labels)
    test = Dataset(small.test.images // 2, small.test.labels)
    double_test = Dataset(test.images * 2, test.labels)
    one = sweep({"divisor": [100.0, 7.0]}, Data(train, test), CONFIG)
    two = sweep({"divisor": [200.0, 14.0]}, Data(doubled, double_test), CONFIG)
    for name in METRICS:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Counts how often train_epoch is traced, and for which Config."""
    counted: list[Config] = []
    original = loop.train_epoch

    def counting(config: Config, *args: Any) -> Any:
        counted.append(config)
        return original(config, *args)

    monkeypatch.setattr(loop, "train_epoch", counting)
    return counted


@pytest.mark.slow
def test_each_program_is_traced_once(small: Data, traces: list[Config]) -> None:
    config = dataclasses.replace(CONFIG, hidden_sizes=(3,))  # no other test's
    losses = ["clipped", "softmax"]
    axes = {"divisor": [1.0, 2.0, 3.0], "loss": losses, "seed": [0, 1, 2]}
    planned = plan(axes, config, Hparams(), 2, max_width=1)
    # Two seeds each, one in the last; and compiled before there are any arrays.
    assert [len(group.runs) for group in planned.groups] == [2, 2, 2, 2, 1] * 2
    for _ in run_groups(planned, small):
        pass
    assert sorted(c.loss for c in traces) == losses
    traces.clear()
    axes = {"divisor": [9.0, 8.0], "loss": losses, "seed": [5, 9, 6]}
    hparams = Hparams(learning_rate=0.5, b1=0.5, eps=0.5)
    list(run_groups(plan(axes, config, hparams, 2, max_width=1), small))
    assert traces == []


@pytest.mark.slow
def test_groups_do_not_change_results(swept: xr.Dataset, small: Data) -> None:
    axes = {"divisor": [255.0, 1000.0], "loss": ["softmax"], "seed": range(3)}
    planned = plan(axes, CONFIG, Hparams(), 1, max_width=1)
    alone = join(planned, run_groups(planned, small), small)
    assert len(planned.groups) == 6
    same = swept.sel(divisor=[255, 1000], loss=["softmax"])
    for name in METRICS:
        np.testing.assert_allclose(alone[name], same[name], rtol=1e-5, err_msg=name)


@pytest.mark.slow
def test_skipped_groups_are_missing(small: Data) -> None:
    planned = plan({"seed": range(4)}, CONFIG, Hparams(), 1, max_width=2)
    parts = list(run_groups(planned, small, skip={0}))
    assert {part.group for part in parts} == {1}
    joined = join(planned, parts, small)
    missing = np.isnan(joined.test_loss.values).all(axis=-1)
    assert missing.tolist() == [True, True, False, False]
    assert joined.status.values[:2].tolist() == ["missing", "missing"]
    assert "missing" not in joined.status.values[2:]


@pytest.mark.slow
def test_settings_that_differ_by_optimizer_are_coordinates_along_it(
    small: Data,
) -> None:
    config = dataclasses.replace(CONFIG, num_epochs=1)
    results = sweep({"optimizer": ["nesterov", "adam"]}, small, config)
    assert results.learning_rate.dims == ("optimizer",)
    assert results.learning_rate.values.tolist() == [1e-2, 1e-3]
    np.testing.assert_array_equal(results.momentum.values, [0.9, np.nan])


class Tiny(nn.Module):
    """One layer, with batch statistics."""

    num_classes: int = 10

    @nn.compact
    def __call__(self, x: Any, train: bool) -> Any:
        x = nn.BatchNorm(not train, momentum=0.9)(x.reshape(x.shape[0], -1))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(self.num_classes)(x)


@pytest.mark.slow
def test_a_module_and_arrays_of_the_users() -> None:
    rng = np.random.RandomState(0)
    labels = rng.randint(0, 3, 70)
    images = rng.normal(0, 0.3, size=(70, 5)) + 3 * np.eye(5)[labels]
    data = Data(Dataset(images[:50], labels[:50]), Dataset(images[50:], labels[50:]))
    config = Config(model=Tiny(3), batch_size=16, num_epochs=20, optimizer="sgd")
    axes = {"learning_rate": [1e-6, 1e-1], "seed": [0, 1, 2]}
    results = sweep(axes, data, config, Hparams(divisor=1.0))
    assert "class_names" not in results.attrs  # they are 0 to 2
    assert results.model.item() == "Tiny(num_classes=3)"
    assert "hidden_sizes" not in results.coords
    final = results.test_accuracy.isel(epoch=-1).mean("seed")
    assert final.values[0] < 0.6 < 0.9 < final.values[1]


@pytest.mark.slow
def test_a_run_with_dropout_is_the_same_in_a_sweep_and_alone(small: Data) -> None:
    """Batch statistics, dropout masks and batches are the seed's own."""
    config = Config(model=Tiny(), num_epochs=2, optimizer="sgd")
    swept = sweep({"divisor": [100.0, 255.0], "seed": [1, 4]}, small, config)
    _, alone = training.train(config, Hparams(divisor=255.0), 4, small)
    for name in METRICS:
        np.testing.assert_allclose(
            swept[name].sel(divisor=255, seed=4), alone[name], rtol=1e-4, err_msg=name
        )


class NoSwitch(nn.Module):
    """Batch statistics, but no argument that tells training from evaluation."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.BatchNorm(use_running_average=True)(x.reshape(x.shape[0], -1))
        return nn.Dense(10)(x)


class Sown(nn.Module):
    """Grows a collection with every call."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Dense(10)(x.reshape(x.shape[0], -1))
        self.sow("outputs", "x", x)
        return x


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(model=Tiny(7)), r"returns shape \(32, 7\).*expected logits \(32, 10\)"),
        (Config(model=nn.Dense(10)), r"returns shape \(32, 28, 10\)"),
        (Config(model=NoSwitch()), "takes no argument `train`"),
        (Config(model=Sown()), "change their shapes.*outputs"),
        (Config(batch_size=201), "batch_size is 201; expected at most the 200"),
    ],
)
def test_networks_that_do_not_fit_are_refused(
    small: Data, config: Config, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        sweep({}, small, config)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (lambda: Probe(lambda *_: {}, "epochs"), "Unknown Probe.when 'epochs'"),
        (
            lambda: Probe(lambda *_: {"test_loss": jnp.zeros(())}),
            "'test_loss' has the same",
        ),
        (
            lambda: Probe(lambda *_: {"divisor": jnp.zeros(())}),
            "'divisor' has the same name",
        ),
        (lambda: Probe(lambda *_: {"w": jnp.zeros(3)}), r"'w' has shape \(3,\), but"),
        (
            lambda: Probe(lambda *_: {"w": jnp.zeros(3)}, dims={"w": ("divisor",)}),
            "'w' has a dimension 'divisor'",
        ),
        (
            lambda: Probe(lambda *_: jnp.zeros(())),  # type: ignore[arg-type]
            "The output of a probe is a .*; expected a dict of names to arrays",
        ),
        (lambda: lambda *_: {}, r"A probe is a function; expected .*Probe\(function"),
    ],
)
def test_probes_that_do_not_fit_are_refused(
    small: Data, probe: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        sweep({"divisor": [1.0, 2.0]}, small, CONFIG, probes=[probe()])


def test_a_name_is_no_data() -> None:
    name: Any = "fashion_mnist"
    with pytest.raises(UserError, match="data is a str; expected Data, as load"):
        sweep({"divisor": [1.0, 2.0]}, name, CONFIG)


def test_targets_as_given_are_for_other_losses() -> None:
    part = Dataset(np.ones((4, 3)), np.linspace(0, 1, 4))
    data = Data(part, part, targets="as_given")
    with pytest.raises(UserError, match="but the loss 'softmax' needs class labels"):
        sweep({"divisor": [1.0, 2.0]}, data, CONFIG)


@pytest.mark.slow
def test_whole_numbers_of_probes_are_exact_and_keys_are_their_own(small: Data) -> None:
    def record(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
        bits = jax.random.key_data(key).astype(jnp.uint32)
        return {"large": jnp.int32(16_777_217), "key": bits[0], "plain": 0.5}

    results = sweep({"seed": [0, 1]}, small, CONFIG, probes=[Probe(record)])
    assert (results.large == 16_777_217).all()
    assert (results.plain == 0.5).all()  # a Python number, of the only run of a device
    steps = range(1, 8)
    for seed in (0, 1):
        _, epochs_key, _ = training.run_keys(seed)
        used = {
            int(jax.random.key_data(jax.random.fold_in(
                jax.random.fold_in(epochs_key, epoch), step))[0])
            for epoch in (1, 2) for step in steps
        }  # fmt: skip
        assert not used & set(results.key.sel(seed=seed).values.astype(int).tolist())


def test_a_plan_for_more_devices_than_there_are_is_refused(small: Data) -> None:
    planned = plan({"seed": range(9)}, CONFIG, Hparams(), 5)
    with pytest.raises(UserError, match=r"uses 5 devices .*, but this process has 2"):
        next(run_groups(planned, small))


@pytest.mark.slow
def test_outputs_of_probes_have_their_dimensions(small: Data) -> None:
    def at_end(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
        counts = jnp.bincount(batch.labels, length=10).astype(jnp.float32)
        return {"label_counts": counts, "norm": jnp.sqrt(jnp.sum(batch.images * 1.0))}

    def at_epoch(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
        return {
            "rate": jnp.asarray(hparams.learning_rate),
            "size": batch.images[:, 0, 0],
        }

    probes = [
        Probe(at_end, "end", {"label_counts": ("label",)}, examples=50),
        Probe(at_epoch, "epoch", {"size": ("example",)}, examples=3),
    ]
    results = sweep({"learning_rate": [0.5, 0.25]}, small, CONFIG, probes=probes)
    assert results.label_counts.dims == ("learning_rate", "seed", "label")
    expected = np.bincount(small.train.labels[:50], minlength=10)
    np.testing.assert_array_equal(results.label_counts[1, 0], expected)
    assert results.rate.dims == ("learning_rate", "seed", "epoch")
    assert results.rate.values.tolist() == [[[0.5, 0.5]], [[0.25, 0.25]]]
    assert results["size"].dims == ("learning_rate", "seed", "epoch", "example")


@pytest.mark.slow
def test_a_probe_of_one_program_is_nan_in_the_others(small: Data) -> None:
    def hidden(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
        layers = len(state.params)
        return {"second_bias": state.params["Dense_1"]["bias"][0]} if layers > 1 else {}

    axes = {"hidden_sizes": [(), (4,)]}
    results = sweep(axes, small, CONFIG, probes=[Probe(hidden, "end")]).second_bias
    assert np.isnan(results.sel(hidden_sizes="none")).all()
    assert np.isfinite(results.sel(hidden_sizes="4")).all()


@pytest.mark.slow
def test_evaluate_train_can_be_switched_off(small: Data) -> None:
    config = dataclasses.replace(CONFIG, evaluate_train=False)
    results = sweep({}, small, config)
    assert np.isnan(results.train_accuracy).all()
    assert np.isfinite(results.train_accuracy_running).all()


@pytest.mark.slow
def test_a_group_too_large_for_memory_is_halved_and_the_results_say_so(
    swept: xr.Dataset, small: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = programs.train_epoch_of_runs

    def limited(program: Any, state: Any, inputs: Any, *args: Any) -> Any:
        if len(inputs.seeds) > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return original(program, state, inputs, *args)

    axes = {"divisor": [255.0, 1000.0], "loss": ["softmax"], "seed": range(3)}
    whole = swept.sel(divisor=[255, 1000], loss=["softmax"])
    monkeypatch.setattr(programs, "train_epoch_of_runs", limited)
    halved = sweep(axes, small, CONFIG)
    assert whole.attrs["groups_halved_for_memory"] == 0
    assert halved.attrs["groups_halved_for_memory"] == 1
    for name in METRICS:
        np.testing.assert_allclose(halved[name], whole[name], rtol=1e-5, err_msg=name)

    def never(*_: Any) -> Any:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(programs, "train_epoch_of_runs", never)
    with pytest.raises(jax.errors.JaxRuntimeError, match="Out of memory"):
        sweep({"seed": [0]}, small, CONFIG)


class TwoLayers(nn.Module):
    """A network of the user's."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(2)(nn.relu(nn.Dense(4)(x)))


@pytest.mark.slow
@pytest.mark.parametrize("model", [None, TwoLayers()])
@pytest.mark.parametrize(
    ("precision", "asked"),
    [
        ("float32", "precision = [HIGHEST, HIGHEST]"),
        ("tf32", "precision = [HIGH, HIGH]"),
        ("bf16", "lhs_precision_type = bf16, rhs_precision_type = bf16, accum"),
    ],
)
def test_every_product_of_a_step_asks_the_device_for_its_precision(
    model: Any, precision: str, asked: str
) -> None:
    config = Config(model=model, hidden_sizes=(4,), precision=precision)
    state = training.init(config, Hparams(), jax.random.key(0), (3,), 2)
    batch = Dataset(np.ones((5, 3), np.uint8), np.zeros(5, np.int32))
    step = functools.partial(training.train_step, config)
    lowered = jax.jit(step).lower(Hparams(), state, jax.random.key(1), batch)
    text = lowered.as_text()
    # Forward, dw and dx of two layers; dx of the first is not needed.
    products = text.count("stablehlo.dot_general")
    assert products >= 2 * 3 - 1
    assert text.count(asked) == products


@pytest.mark.slow
def test_precision_is_an_axis_with_a_program_for_each_value(
    swept: xr.Dataset, small: Data
) -> None:
    precisions = ["float32", "tf32", "bf16"]
    axes = {"divisor": [1.0, 255.0, 1000.0], "precision": precisions, "seed": range(3)}
    assert plan(axes, CONFIG, Hparams()).num_programs == 3
    results = sweep(axes, small, CONFIG)
    assert swept.precision.item() == "float32"
    exact, tf32, bf16 = (results.sel(precision=p) for p in precisions)
    for name in METRICS:
        same = swept[name].sel(loss="softmax")
        np.testing.assert_array_equal(exact[name], same, err_msg=name)
    last = {"divisor": 255, "epoch": 2}
    far, near = (
        np.abs(run.test_loss.sel(last) - exact.test_loss.sel(last)).mean()
        for run in (bf16, tf32)
    )
    assert 0 < near < far < 0.02


@pytest.mark.slow
def test_runs_with_nan_parameters_leave_the_batch_without_changing_results(
    small: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six of eight runs are lost in the first epoch."""
    config = dataclasses.replace(CONFIG, num_epochs=5, optimizer="sgd")
    lost = [1e30, 1e31, 1e32, 1e33, 1e34, 1e35, 1e36, 1e37]
    learning_rates = [1e-2, *lost[:6], 1e-1]
    original, widths = programs.train_epoch_of_runs, []

    def counting(program: Any, state: Any, inputs: Any, *args: Any) -> Any:
        widths.append(len(inputs.seeds))
        return original(program, state, inputs, *args)

    monkeypatch.setattr(programs, "train_epoch_of_runs", counting)
    axes = {"learning_rate": learning_rates}
    sweep(axes, small, config, max_width=4)  # another program would take longer
    assert widths == [8] * 5
    widths.clear()
    monkeypatch.setattr(engine, "seconds_left", lambda *_: 1e9)
    compacted = sweep(axes, small, config, max_width=4)
    assert widths == [8, 8, 2, 2, 2]
    widths.clear()
    none = sweep({"learning_rate": lost}, small, config, max_width=4)
    assert widths == [8, 8]
    assert none.status.values.ravel().tolist() == ["diverged"] * 8
    widths.clear()
    watch = Probe(lambda *_: {"one": jnp.ones(())}, when="end")
    stayed = sweep(axes, small, config, probes=[watch], max_width=4)
    assert widths == [8] * 5
    for name in [*METRICS, "parameters_finite", "dead_layers", "zero_gradient_share"]:
        np.testing.assert_allclose(
            compacted[name], stayed[name], rtol=1e-5, err_msg=name
        )
        np.testing.assert_array_equal(
            compacted[name][1:7], stayed[name][1:7], err_msg=name
        )
        np.testing.assert_array_equal(none[name][:6], stayed[name][1:7], err_msg=name)
    assert (compacted.status == stayed.status).all()


@pytest.mark.slow
def test_settled_runs_stay_if_the_user_has_a_probe(small: Data) -> None:
    def epochs(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
        return {"bits": jax.random.key_data(key)[0].astype(jnp.uint32)}

    config = dataclasses.replace(CONFIG, num_epochs=4, optimizer="sgd")
    axes = {"learning_rate": [1e30, 1e31]}
    results = sweep(axes, small, config, probes=[Probe(epochs)]).bits.values
    assert len(np.unique(results[0])) == 4


@pytest.mark.slow
def test_a_run_is_settled_once_its_logits_are_nan_for_ever() -> None:
    """Dropout may drop a NaN elsewhere, and a schedule may change."""
    config = Config(hidden_sizes=(2,))
    state = training.init(config, Hparams(), jax.random.key(0), (3,), 2)

    def is_settled(config: Config, layer: str, leaf: str, values: Any) -> bool:
        kernel_and_bias = {**state.params[layer], leaf: jnp.asarray(values)}
        params = {**state.params, layer: kernel_and_bias}
        before = dataclasses.replace(state, params=params)
        return bool(programs._is_settled(config, before, state))

    lost = ("Dense_1", "bias", [np.nan, np.nan])
    assert is_settled(config, *lost)
    assert not is_settled(config, "Dense_1", "bias", [np.nan, 0])
    assert not is_settled(config, "Dense_0", "bias", [np.nan, np.nan])
    assert not is_settled(config, "Dense_1", "bias", [np.inf, np.inf])
    for schedule in ("plateau", "cosine"):
        assert not is_settled(dataclasses.replace(config, schedule=schedule), *lost)
    with_model = dataclasses.replace(config, model=nn.Dense(2))
    assert not is_settled(with_model, *lost)
