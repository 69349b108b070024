"""The networks, weights and batches of test_parity in PyTorch.

    python -m tests.training.pytorch_reference

writes ``tests/training/pytorch_losses.json``; it needs PyTorch. The initial weights and
the batches are the same on every machine: they come from NumPy's frozen ``RandomState``
and from arithmetic with the same rounding everywhere.
"""

import functools
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fmnist_jax.data import synthetic

LOSSES_FILE = Path(__file__).parent / "pytorch_losses.json"
COMMAND = "python -m tests.training.pytorch_reference"
STEPS, BATCH_SIZE, NUM_CLASSES = 100, 32, 10
STEPS_PER_EPOCH = 50
CLIP = 1e-7

Params = dict[str, dict[str, np.ndarray]]


class Run(NamedTuple):
    """One training run; its numbers do not come from the library."""

    preset: str
    optimizer: str
    loss: str
    divisor: float
    batch_norm: str = "off"  # "frozen": constant statistics after the first epoch
    penalties: bool = False  # all of PENALTIES

    @property
    def name(self) -> str:
        parts = [self.preset, self.optimizer, self.loss, f"{self.divisor:g}"]
        parts += [f"batch_norm_{self.batch_norm}"] * (self.batch_norm != "off")
        return "-".join(parts + ["penalties"] * self.penalties)


RUNS = [
    *(
        Run("keras", optimizer, loss, divisor)
        for optimizer in ("sgd", "adam")
        for loss in ("softmax", "clipped")
        for divisor in (255.0, 1000.0)
    ),
    # Here the clip matters: most examples are saturated and have no gradient. (In other
    # unscaled runs float32 and float64 soon differ in PyTorch itself.)
    Run("keras", "adam", "clipped", 1.0),
    *(Run("book", "sgd", "softmax", divisor) for divisor in (255.0, 1000.0)),
    Run("keras", "adam", "softmax", 255.0, batch_norm="on"),
    Run("keras", "sgd", "softmax", 1.0, batch_norm="frozen"),
    Run("keras", "sgd", "softmax", 255.0, penalties=True),
]
PENALTIES = {"l1": 1e-4, "l2": 1e-2, "l2_squared": 1e-3}
HIDDEN_SIZE = {"keras": 128, "book": 1000}
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"lr": 1e-2}),
    "adam": ("Adam", {"lr": 1e-3, "eps": 1e-7}),
}

# Optimizers on fixed gradients, with settings far from their defaults. PyTorch adds the
# eps of rmsprop and adagrad outside the square root, optax inside; an eps of 0 agrees.
PATH_STEPS, PATH_SIZE = 20, 5
PATHS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"lr": 0.3}),
    "momentum": ("SGD", {"lr": 0.05, "momentum": 0.7}),
    "nesterov": ("SGD", {"lr": 0.05, "momentum": 0.7, "nesterov": True}),
    "rmsprop": ("RMSprop", {"lr": 0.02, "alpha": 0.6, "eps": 0.0}),
    "adagrad": ("Adagrad", {"lr": 0.2, "initial_accumulator_value": 0.4, "eps": 0.0}),
    "adam": ("Adam", {"lr": 0.03, "betas": (0.7, 0.95), "eps": 0.01}),
    "adamw": (
        "AdamW",
        {"lr": 0.03, "betas": (0.7, 0.95), "eps": 0.01, "weight_decay": 0.3},
    ),
}

# The learning rates of ReduceLROnPlateau for lists of test losses. All numbers except
# factors and learning rates are exact in float32, so that ties are ties there too.
PLATEAU_EPOCHS = 24


class Plateau(NamedTuple):
    """The settings of a plateau rule, and the name of its test losses."""

    learning_rate: float
    factor: float
    patience: int
    threshold: float
    min_learning_rate: float
    losses: str


PLATEAUS = [
    *(
        Plateau(1e-2, factor, patience, 1 / 512, 0.0, losses)
        for losses in ("falling", "noisy", "not a number")
        for factor, patience in ((0.1, 0), (0.5, 1), (0.7, 3))
    ),
    *(Plateau(0.3, 0.5, 0, thr, 0.0, "steps") for thr in (0.0, 1 / 64, 3 / 64)),
    Plateau(1.0, 0.2, 1, 1 / 64, 0.05, "noisy"),  # ends at its minimum
    Plateau(1e-3, 0.5, 1, 0.0, 1e-2, "noisy"),  # starts below its minimum
    Plateau(1e-7, 0.5, 0, 0.0, 0.0, "flat"),  # ends at a reduction by less than 1e-8
    Plateau(0.1, 0.0, 1, 0.0, 0.0, "flat"),
]
COSINES = [(1, 0.1, 0.0), (2, 1e-3, 1e-4), (5, 1e-2, 0.0), (12, 0.5, 0.2)]


def plateau_losses(name: str) -> np.ndarray:
    """Returns the test loss of each epoch, float64 multiples of 1/256."""
    random, epochs = np.random.RandomState(4), np.arange(PLATEAU_EPOCHS)
    steps = {
        "falling": 600 - 40 * epochs + epochs**2,  # until the 21st
        "steps": 256 - 4 * epochs - 4 * (epochs % 3 == 0),  # by 1/32, 0 and 1/64
        "flat": np.full(PLATEAU_EPOCHS, 256),
    }
    noisy = np.round(300 - 8 * epochs + 90 * random.random_sample(PLATEAU_EPOCHS))
    losses = steps.get(name, noisy) / 256
    if name == "not a number":
        losses[[0, 5, 6, 7, 8, 15]] = np.nan
        losses[[11, 12]] = np.inf, -np.inf
    return losses


@functools.cache
def batches() -> tuple[np.ndarray, np.ndarray]:
    """Returns images uint8 ``[steps, B, 28, 28]`` and labels int32 ``[steps, B]``."""
    (images, labels), _ = synthetic.generate(0, STEPS * BATCH_SIZE, 1)
    order = np.random.RandomState(1).permutation(STEPS * BATCH_SIZE)
    shape = (STEPS, BATCH_SIZE)
    return (
        images[order].reshape(*shape, *images.shape[1:]),
        labels[order].reshape(shape),
    )


def _uniform(random: np.random.RandomState, bound: float, *shape: int) -> np.ndarray:
    return ((2 * random.random_sample(shape) - 1) * bound).astype(np.float32)


def initial_weights(preset: str) -> Params:
    """Returns weights with the distribution of the library of the preset."""
    random = np.random.RandomState(0)
    sizes = (28 * 28, HIDDEN_SIZE[preset], NUM_CLASSES)
    params = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        glorot = preset == "keras"
        bound = np.sqrt(6 / (inputs + outputs) if glorot else 1 / inputs)
        kernel = _uniform(random, bound, inputs, outputs)
        bias = _uniform(random, 0.0 if glorot else bound, outputs)
        params[f"Dense_{layer}"] = {"kernel": kernel, "bias": bias}
    return params


def gradients() -> np.ndarray:
    """Returns the optimizers' gradients, float32 ``[steps, size]``, none zero."""
    random = np.random.RandomState(2)
    signs = np.where(random.random_sample((PATH_STEPS, PATH_SIZE)) < 0.7, 1, -1)
    sizes = 0.05 + random.random_sample((PATH_STEPS, PATH_SIZE))
    return (signs * sizes).astype(np.float32)


def path_start() -> np.ndarray:
    """Returns the optimizers' initial parameters, float32 ``[size]``."""
    return np.linspace(-1, 1, PATH_SIZE).astype(np.float32) + np.float32(0.1)


def inputs_fingerprint() -> str:
    """Returns the sha256 of all inputs of the references."""
    arrays = [*batches(), gradients(), path_start()]
    arrays += [plateau_losses(case.losses) for case in PLATEAUS]
    for preset in HIDDEN_SIZE:
        for layer in initial_weights(preset).values():
            arrays += layer.values()
    digest = hashlib.sha256()
    for array in arrays:
        little_endian = array.astype(array.dtype.newbyteorder("<"))
        digest.update(np.ascontiguousarray(little_endian).data)
    return digest.hexdigest()


def summary(run: Run, params: Any, statistics: Any) -> dict[str, list[float]]:
    """Returns, for each parameter, three numbers that depend on every value.

    They are the norm, the norm of the change since the start, and the component of the
    change along the direction (1, -1, 1, -1, …). The running statistics of batch norm
    have the same numbers. Biases before batch norm are omitted: their gradients are 0
    except for rounding errors, which Adam normalises to full-size steps. So are the
    running means, which follow these biases.
    """
    before = dict(initial_weights(run.preset))
    after = {name: dict(params[name]) for name in before}
    if run.batch_norm != "off":
        size = HIDDEN_SIZE[run.preset]
        one, zero = np.ones(size, np.float32), np.zeros(size, np.float32)
        before["Dense_0"] = {"kernel": before["Dense_0"]["kernel"]}
        before["BatchNorm_0"] = {"scale": one, "bias": zero, "mean": zero, "var": one}
        if run.optimizer == "adam":
            del before["BatchNorm_0"]["mean"]
        after["BatchNorm_0"] = {**params["BatchNorm_0"], **statistics["BatchNorm_0"]}
    numbers = {}
    for layer, start in before.items():
        for name in start:
            values = np.asarray(after[layer][name], np.float64)
            change = (values - start[name]).ravel()
            direction = (1 - 2 * (np.arange(change.size) % 2)) / np.sqrt(change.size)
            three = np.linalg.norm(values), np.linalg.norm(change), change @ direction
            numbers[f"{layer}.{name}"] = [float(value) for value in three]
    return numbers


class Trained(NamedTuple):
    """The results of a run.

    Attributes:
      losses: of each batch before its step, without penalty.
      penalties: of each batch before its step.
      evaluated: the loss of the first batch after the last step, in eval mode.
      params: after the last step, by Flax's names.
      statistics: of batch norm after the last step, by Flax's names.
    """

    losses: list[float]
    penalties: list[float]
    evaluated: float
    params: Params
    statistics: Params


def train(run: Run, dtype_name: str) -> Trained:
    """Trains in PyTorch.

    Args:
      run: its settings.
      dtype_name: "float32" or "float64", for weights, inputs and all arithmetic.
    """
    import torch  # imported here, because the rest works without PyTorch
    from torch import nn

    torch.set_num_threads(1)
    dtype = getattr(torch, dtype_name)
    hidden = HIDDEN_SIZE[run.preset]
    layers = nn.Linear(28 * 28, hidden), nn.Linear(hidden, NUM_CLASSES)
    for layer, start in zip(layers, initial_weights(run.preset).values(), strict=True):
        layer.load_state_dict(
            {
                "weight": torch.from_numpy(start["kernel"].T.copy()),
                "bias": torch.from_numpy(start["bias"]),
            }
        )
    norm = nn.BatchNorm1d(hidden) if run.batch_norm != "off" else nn.Identity()
    model = nn.Sequential(nn.Flatten(), layers[0], norm, nn.ReLU(), layers[1]).to(dtype)
    optimizer_name, settings = OPTIMIZERS[run.optimizer]
    optimizer = getattr(torch.optim, optimizer_name)(model.parameters(), **settings)
    inputs = [
        (torch.from_numpy(images).to(dtype) / run.divisor, torch.from_numpy(y).long())
        for images, y in zip(*batches(), strict=True)
    ]
    losses, penalties = [], []
    for step, (x, y) in enumerate(inputs):
        if run.batch_norm == "frozen" and step == STEPS_PER_EPOCH:
            norm.eval()
        loss = _loss(run, model(x), y)
        penalty = _penalty(run, model)
        optimizer.zero_grad()
        (loss + penalty).backward()
        optimizer.step()
        losses.append(loss.item())
        penalties.append(penalty.item())
    model.eval()
    evaluated = _loss(run, model(inputs[0][0]), inputs[0][1]).item()
    return Trained(losses, penalties, evaluated, *_arrays(layers, norm))


def _loss(run: Run, logits: Any, labels: Any) -> Any:
    from torch.nn import functional

    if run.loss == "softmax":
        return functional.cross_entropy(logits, labels)
    probabilities = logits.softmax(dim=-1).clamp(CLIP, 1 - CLIP)
    return -probabilities.log().gather(1, labels[:, None]).mean()


def _penalty(run: Run, model: Any) -> Any:
    """Returns the sum of all penalties, in a loop as in the book."""
    import torch

    total = torch.zeros((), dtype=next(model.parameters()).dtype)
    for p in model.parameters() if run.penalties else ():
        total = total + PENALTIES["l1"] * p.abs().sum()
        total = total + PENALTIES["l2"] * p.norm()
        total = total + PENALTIES["l2_squared"] * (p**2).sum()
    return total


def _arrays(layers: Any, norm: Any) -> tuple[Params, Params]:
    """Returns parameters and running statistics by Flax's names."""

    def plain(tensor: Any) -> np.ndarray:
        return tensor.detach().numpy().T.copy()

    params = {
        f"Dense_{i}": {"kernel": plain(layer.weight), "bias": plain(layer.bias)}
        for i, layer in enumerate(layers)
    }
    if not hasattr(norm, "running_mean"):
        return params, {}
    params["BatchNorm_0"] = {"scale": plain(norm.weight), "bias": plain(norm.bias)}
    statistics = {"mean": plain(norm.running_mean), "var": plain(norm.running_var)}
    return params, {"BatchNorm_0": statistics}


def optimizer_path(name: str) -> np.ndarray:
    """Returns PyTorch's parameters after each gradient, float64 ``[steps, size]``."""
    import torch

    torch.set_num_threads(1)
    parameter = torch.tensor(path_start(), dtype=torch.float64, requires_grad=True)
    optimizer_name, settings = PATHS[name]
    optimizer = getattr(torch.optim, optimizer_name)([parameter], **settings)
    path = []
    for gradient in gradients():
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        path.append(parameter.detach().numpy().copy())
    return np.stack(path)


def _learning_rates(make: Any, learning_rate: float, losses: Any) -> list[float]:
    """Returns the learning rate of each epoch with a scheduler of PyTorch."""
    import torch

    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=learning_rate)
    scheduler, rates = make(optimizer), []
    for loss in losses:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*([] if loss is None else [loss]))
    return rates


def plateau_learning_rates(case: Plateau) -> list[float]:
    """Returns PyTorch's learning rate of each epoch."""
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    def make(optimizer: Any) -> Any:
        return ReduceLROnPlateau(
            optimizer,
            factor=case.factor,
            patience=case.patience,
            threshold=case.threshold,
            threshold_mode="abs",
            min_lr=case.min_learning_rate,
        )

    return _learning_rates(make, case.learning_rate, plateau_losses(case.losses))


def cosine_learning_rates(
    epochs: int, learning_rate: float, min_learning_rate: float
) -> list[float]:
    """Returns PyTorch's learning rate of each epoch."""
    from torch.optim.lr_scheduler import CosineAnnealingLR

    return _learning_rates(
        lambda optimizer: CosineAnnealingLR(optimizer, epochs, min_learning_rate),
        learning_rate,
        [None] * epochs,
    )


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.9g}") for value in np.ravel(values)]


def _reference(run: Run) -> dict[str, Any]:
    trained, trained_64 = train(run, "float32"), train(run, "float64")
    parameters = summary(run, trained.params, trained.statistics)
    penalties = {"penalties": _rounded(trained.penalties)} if run.penalties else {}
    return {
        "float32": _rounded(trained.losses),
        "float64": _rounded(trained_64.losses),
        **penalties,
        "evaluated": _rounded(trained.evaluated)[0],
        "parameters": {name: _rounded(v) for name, v in parameters.items()},
    }


def _to_json(value: Any) -> str:
    """Returns JSON with one line per list of numbers, for readable diffs."""
    if not isinstance(value, dict):
        return json.dumps(value)
    lines = (f"{json.dumps(key)}: {_to_json(item)}" for key, item in value.items())
    return "{\n" + ",\n".join(lines) + "\n}"


def main() -> None:
    """Writes the reference losses."""
    import torch

    table = {
        "written_by": COMMAND,
        "torch": torch.__version__,
        "inputs_sha256": inputs_fingerprint(),
        "runs": {run.name: _reference(run) for run in RUNS},
        "optimizers": {name: _rounded(optimizer_path(name)) for name in PATHS},
        "plateaus": [_rounded(plateau_learning_rates(case)) for case in PLATEAUS],
        "cosines": [_rounded(cosine_learning_rates(*case)) for case in COSINES],
    }
    LOSSES_FILE.write_text(_to_json(table) + "\n", encoding="utf-8")
    print(f"{LOSSES_FILE}: {LOSSES_FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
