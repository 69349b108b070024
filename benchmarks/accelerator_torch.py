"""A sweep in PyTorch: a step of ``torch.func.vmap``, replayed as a CUDA graph.

The network, loss, optimizer, batches and evaluations are those of the preset "keras" of
fmnist_jax. Without CUDA the same step runs without a graph.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.accelerator_plain import BATCH, EPSILON, EVALUATION_BATCH
from fmnist_jax.data.dataset import Dataset

B1, B2, CLIP = 0.9, 0.999, 1e-7
NAMES = ("w1", "b1", "w2", "b2")


class Runs(NamedTuple):
    """The runs of a sweep; arrays with an entry for each run, ``[R, …]``.

    Attributes:
      params: name in ``NAMES`` to initial parameters.
      divisor: of the pixels.
      learning_rate: of Adam.
      order: the position of its example order among those of the seeds.
    """

    params: dict[str, Any]
    divisor: Any
    learning_rate: Any
    order: Any


def logits(params: dict[str, Any], x: Any) -> Any:
    """Returns the logits ``[B, 10]`` of one network."""
    hidden = torch.relu(x @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


def loss(params: dict[str, Any], x: Any, y: Any) -> Any:
    """Returns the mean clipped cross-entropy of one network on one batch."""
    probabilities = torch.softmax(logits(params, x), -1).gather(-1, y[:, None])
    return -torch.log(probabilities.clamp(CLIP, 1 - CLIP)).mean()


def adam(param: Any, mean: Any, square: Any, grad: Any, rate: Any, count: Any) -> None:
    """Updates a parameter of all runs in place, with a learning rate for each run."""
    mean.mul_(B1).add_(grad, alpha=1 - B1)
    square.mul_(B2).addcmul_(grad, grad, value=1 - B2)
    root = (square / (1 - B2**count)).sqrt() + EPSILON
    param.sub_(rate * (mean / (1 - B1**count)) / root)


class Sweep(NamedTuple):
    """The tensors of a sweep on its device, which a step changes in place."""

    params: dict[str, Any]
    means: dict[str, Any]
    squares: dict[str, Any]
    settings: Any  # divisors, learning rates and positions of orders
    counts: Any  # steps taken, and steps of this epoch
    total_loss: Any


def start(runs: Runs, device: str) -> Sweep:
    """Returns a sweep before its first step."""
    as_float = {"dtype": torch.float32, "device": device}
    params = {n: torch.tensor(runs.params[n], **as_float) for n in NAMES}
    means, squares = (
        {n: torch.zeros_like(p) for n, p in params.items()} for _ in range(2)
    )
    divisor = torch.tensor(runs.divisor, **as_float)[:, None, None]
    rate = torch.tensor(runs.learning_rate, **as_float)
    settings = divisor, rate, torch.tensor(runs.order, device=device)
    counts = torch.zeros(2, dtype=torch.int64, device=device)
    total = torch.zeros(len(rate), **as_float)
    return Sweep(params, means, squares, settings, counts, total)


def on_device(dataset: Dataset, device: str) -> tuple[Any, Any]:
    """Returns images ``[N, 784]`` as stored and labels ``[N]``."""
    images, labels = (torch.tensor(np.asarray(array)) for array in dataset)
    return images.reshape(len(labels), -1).to(device), labels.long().to(device)


def make_step(
    sweep: Sweep, train: tuple[Any, Any], orders: Any, update: Any = adam
) -> Callable[[], None]:
    """Returns a function that takes a step of all runs.

    Args:
      sweep: which the step changes.
      train: the training set.
      orders: of the examples in the epoch, ``[S, N]``; changed in place by the caller.
      update: ``adam``, or a compiled version of it.
    """
    (images, labels), (divisor, rate, order) = train, sweep.settings
    columns = torch.arange(BATCH, device=images.device)
    gradients = torch.func.vmap(torch.func.grad_and_value(loss))

    def step() -> None:
        rows = orders[:, sweep.counts[1] * BATCH + columns][order]
        x, y = images[rows].float() / divisor, labels[rows]
        grads, losses = gradients(sweep.params, x, y)
        sweep.counts.add_(1)
        for name, param in sweep.params.items():
            rates = rate.reshape(-1, *[1] * (param.dim() - 1))
            moments = sweep.means[name], sweep.squares[name]
            update(param, *moments, grads[name], rates, sweep.counts[0].float())
        sweep.total_loss.add_(losses)

    return step


def captured(step: Callable[[], None], sweep: Sweep) -> Callable[[], None]:
    """Returns a step as a CUDA graph; the sweep is as before."""
    tensors = [sweep.counts, sweep.total_loss]
    for by_name in (sweep.params, sweep.means, sweep.squares):
        tensors += by_name.values()
    saved = [tensor.clone() for tensor in tensors]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    for tensor, value in zip(tensors, saved, strict=True):
        tensor.copy_(value)
    return graph.replay


@torch.no_grad()
def evaluate(sweep: Sweep, images: Any, labels: Any) -> dict[str, Any]:
    """Returns mean loss and accuracy of all runs on a data set, ``[R]`` each."""
    losses, correct = 0.0, 0.0
    batches = zip(
        images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True
    )
    for x, y in batches:
        inputs = x.float() / sweep.settings[0]
        scores = torch.func.vmap(logits)(sweep.params, inputs)
        columns = y.expand(len(scores), -1)[:, :, None]
        probabilities = torch.softmax(scores, -1).gather(-1, columns)[:, :, 0]
        losses -= torch.log(probabilities.clamp(CLIP, 1 - CLIP)).sum(-1)
        correct += (scores.argmax(-1) == y).sum(-1)
    return {"loss": losses / len(labels), "accuracy": correct / len(labels)}


def train_epoch(
    sweep: Sweep, step: Callable[[], None], steps: int, evaluated: tuple[Any, ...]
) -> dict[str, np.ndarray]:
    """Trains and evaluates all runs for an epoch; returns metrics, ``[R]`` each."""
    sweep.counts[1] = 0
    sweep.total_loss.zero_()
    for _ in range(steps):
        step()
    test, train = (evaluate(sweep, *dataset) for dataset in evaluated)
    metrics = {"train_loss": sweep.total_loss / steps, "test_loss": test["loss"]}
    metrics |= {"test_accuracy": test["accuracy"], "final_train_loss": train["loss"]}
    return {name: value.cpu().numpy() for name, value in metrics.items()}
