"""The same networks, weights and batches in PyTorch: what test_parity compares with.

    python -m tests.pytorch_reference

writes ``tests/data/pytorch_losses.json`` anew. It needs PyTorch beside what the library
needs. The initial weights and the batches come from NumPy's frozen ``RandomState`` and
from arithmetic that rounds alike everywhere, so that they are the same on every
machine.
"""

import functools
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fmnist_jax import synthetic

PATH = Path(__file__).parent / "data" / "pytorch_losses.json"
COMMAND = "python -m tests.pytorch_reference"
STEPS, BATCH_SIZE, NUM_CLASSES = 100, 32, 10
CLIP = 1e-7

Params = dict[str, dict[str, np.ndarray]]


class Run(NamedTuple):
    """One training run; its numbers are written out, not taken from the library."""

    preset: str
    optimizer: str
    loss: str
    divisor: float

    @property
    def name(self) -> str:
        return f"{self.preset}-{self.optimizer}-{self.loss}-{self.divisor:g}"


RUNS = [
    *(
        Run("keras", optimizer, loss, divisor)
        for optimizer in ("sgd", "adam")
        for loss in ("softmax", "clipped")
        for divisor in (255.0, 1000.0)
    ),
    # Here the clip is at work: most examples are saturated and have no gradient. (Of
    # the other unscaled runs float32 and float64 soon disagree in PyTorch itself.)
    Run("keras", "adam", "clipped", 1.0),
    *(Run("book", "sgd", "softmax", divisor) for divisor in (255.0, 1000.0)),
]
HIDDEN_SIZE = {"keras": 128, "book": 1000}
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"lr": 1e-2}),
    "adam": ("Adam", {"lr": 1e-3, "eps": 1e-7}),
}

# Optimizers on gradients that are given: settings far from their defaults. PyTorch adds
# the eps of rmsprop and adagrad outside the square root, optax inside: only at 0 do
# they agree.
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
    """Returns weights like those that the library of the preset draws."""
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
    """Returns what the optimizers are given, float32 ``[steps, size]``, none zero."""
    random = np.random.RandomState(2)
    signs = np.where(random.random_sample((PATH_STEPS, PATH_SIZE)) < 0.7, 1, -1)
    sizes = 0.05 + random.random_sample((PATH_STEPS, PATH_SIZE))
    return (signs * sizes).astype(np.float32)


def path_start() -> np.ndarray:
    """Returns the parameters that the optimizers start from, float32 ``[size]``."""
    return np.linspace(-1, 1, PATH_SIZE).astype(np.float32) + np.float32(0.1)


def inputs_fingerprint() -> str:
    """Returns the sha256 of all that the references were computed from."""
    arrays = [*batches(), gradients(), path_start()]
    for preset in HIDDEN_SIZE:
        for layer in initial_weights(preset).values():
            arrays += layer.values()
    digest = hashlib.sha256()
    for array in arrays:
        little_endian = array.astype(array.dtype.newbyteorder("<"))
        digest.update(np.ascontiguousarray(little_endian).data)
    return digest.hexdigest()


def summary(preset: str, params: Any) -> dict[str, list[float]]:
    """Returns, for each parameter, three numbers that any change would move.

    The norm, the norm of the change since the start, and the component of the change
    along the direction (1, -1, 1, -1, …).
    """
    numbers = {}
    for layer, start in initial_weights(preset).items():
        for name in start:
            after = np.asarray(params[layer][name], np.float64)
            change = (after - start[name]).ravel()
            direction = (1 - 2 * (np.arange(change.size) % 2)) / np.sqrt(change.size)
            values = (np.linalg.norm(after), np.linalg.norm(change), change @ direction)
            numbers[f"{layer}.{name}"] = [float(value) for value in values]
    return numbers


def train(run: Run, dtype_name: str) -> tuple[list[float], Params]:
    """Trains in PyTorch.

    Args:
      run: what to train.
      dtype_name: "float32" or "float64"; of the weights, inputs and all arithmetic.

    Returns:
      The loss of each batch before its step, and the parameters after the last step.
    """
    import torch  # here: without PyTorch the rest of this module is still of use
    from torch import nn
    from torch.nn import functional

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
    model = nn.Sequential(nn.Flatten(), layers[0], nn.ReLU(), layers[1]).to(dtype)
    optimizer_name, settings = OPTIMIZERS[run.optimizer]
    optimizer = getattr(torch.optim, optimizer_name)(model.parameters(), **settings)
    losses = []
    for images, labels in zip(*batches(), strict=True):
        x = torch.from_numpy(images).to(dtype) / run.divisor
        y = torch.from_numpy(labels).long()
        logits = model(x)
        if run.loss == "softmax":
            loss = functional.cross_entropy(logits, y)
        else:
            probabilities = logits.softmax(dim=-1).clamp(CLIP, 1 - CLIP)
            loss = -probabilities.log().gather(1, y[:, None]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    params = {
        f"Dense_{i}": {
            "kernel": layer.weight.detach().numpy().T.copy(),
            "bias": layer.bias.detach().numpy().copy(),
        }
        for i, layer in enumerate(layers)
    }
    return losses, params


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


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.9g}") for value in np.ravel(values)]


def _reference(run: Run) -> dict[str, Any]:
    losses_32, params_32 = train(run, "float32")
    losses_64, _ = train(run, "float64")
    parameters = summary(run.preset, params_32)
    return {
        "float32": _rounded(losses_32),
        "float64": _rounded(losses_64),
        "parameters": {name: _rounded(v) for name, v in parameters.items()},
    }


def _to_json(value: Any) -> str:
    """Returns JSON with each list of numbers on one line, for readable diffs."""
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
    }
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(_to_json(table) + "\n", encoding="utf-8")
    print(f"{PATH}: {PATH.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
