"""PyTorch: several networks of one shape at once."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from benchmarks.jobs import BATCH_SIZE, NUM_CLASSES, NUM_INPUTS, Job, Train
from benchmarks.on_torch import make_optimizer, network, tensors, with_threads

Step = Callable[[Any, Any], Any]  # from x [R, 32, 784] and y [R, 32] to losses [R]


def _loop(job: Job, step: Step) -> Train:
    x, y = tensors(job)

    def train(steps: int) -> list[float]:
        total = torch.zeros(job.runs)
        order = torch.stack([torch.randperm(len(x)) for _ in range(job.runs)])
        for rows in order[:, : steps * BATCH_SIZE].split(BATCH_SIZE, 1):
            total += step(x[rows], y[rows])
        return total.tolist()

    return train


def _bmm_parameters(job: Job) -> list[Any]:
    models = [network(job) for _ in range(job.runs)]
    stacked = []
    for layer in (0, 2):
        kernels = torch.stack([model[layer].weight.detach().T for model in models])
        biases = torch.stack([model[layer].bias.detach()[None] for model in models])
        stacked += [kernels.contiguous(), biases]
    return [parameter.requires_grad_() for parameter in stacked]


def _bmm_losses(
    w1_RxDxH: Any, b1_Rx1xH: Any, w2_RxHxC: Any, b2_Rx1xC: Any, x_RxBxD: Any, y_RxB: Any
) -> Any:
    hidden_RxBxH = torch.baddbmm(b1_Rx1xH, x_RxBxD, w1_RxDxH).relu()
    logits_RxBxC = torch.baddbmm(b2_Rx1xC, hidden_RxBxH, w2_RxHxC)
    losses = functional.cross_entropy(
        logits_RxBxC.reshape(-1, NUM_CLASSES), y_RxB.reshape(-1), reduction="none"
    )
    return losses.reshape(y_RxB.shape).mean(1)


def bmm(job: Job) -> dict[str, Train]:
    """Returns an ensemble by batched matrix products, compiled and eager."""

    def loop(losses_fn: Any) -> Train:
        parameters = _bmm_parameters(job)
        optimizer = make_optimizer(job, parameters, fused=True)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            losses = losses_fn(*parameters, x, y)
            losses.sum().backward()
            optimizer.step()
            return losses.detach()

        return _loop(job, step)

    compiled = torch.compile(_bmm_losses, fullgraph=True)
    return with_threads({"eager": loop(_bmm_losses), "compiled": loop(compiled)})


def vmap(job: Job) -> dict[str, Train]:
    """Returns an ensemble as in the PyTorch tutorial on model ensembling."""
    models = [network(job) for _ in range(job.runs)]
    stacked, buffers = torch.func.stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")
    optimizer = make_optimizer(job, list(stacked.values()), fused=True)

    def loss_fn(params: Any, buffers: Any, x: Any, y: Any) -> Any:
        logits = torch.func.functional_call(skeleton, (params, buffers), (x,))
        return functional.cross_entropy(logits, y)

    grads_and_losses = torch.func.vmap(torch.func.grad_and_value(loss_fn))

    def step(x: Any, y: Any) -> Any:
        params = {name: value.detach() for name, value in stacked.items()}
        grads, losses = grads_and_losses(params, buffers, x, y)
        for name, parameter in stacked.items():
            parameter.grad = grads[name]
        optimizer.step()
        return losses

    assert next(iter(stacked.values())).shape[-1] == NUM_INPUTS
    return with_threads({"": _loop(job, step)})
