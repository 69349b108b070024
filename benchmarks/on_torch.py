"""PyTorch: one network at a time."""

import itertools
import os
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.jobs import BATCH_SIZE, NUM_CLASSES, NUM_INPUTS, Job, Train


class FMNISTDataset(Dataset):
    """The book's data set class: scales all images first, returns single examples."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.x = images.float().view(-1, NUM_INPUTS) / 255
        self.y = labels

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Returns an image and its label."""
        return self.x[index], self.y[index]

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self.x)


def network(job: Job) -> Any:
    """Returns a network with one hidden layer of ReLUs."""
    return nn.Sequential(
        nn.Linear(NUM_INPUTS, job.width), nn.ReLU(), nn.Linear(job.width, NUM_CLASSES)
    )


def make_optimizer(job: Job, parameters: Any, **options: Any) -> Any:
    """Returns the optimizer of the job for ``parameters``."""
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[job.optimizer]
    return make(parameters, lr=job.learning_rate, **options)


def tensors(job: Job) -> tuple[Any, Any]:
    """Returns images float32 ``[N, 784]`` in 0…1 and labels int64 ``[N]``."""
    x, y = job.float32()
    return torch.from_numpy(x), torch.from_numpy(y).long()


def with_threads(variants: dict[str, Train]) -> dict[str, Train]:
    """Returns every variant with one thread and with the maximum number."""

    def fixed(train: Train, count: int) -> Train:
        def run(steps: int) -> object:
            torch.set_num_threads(count)
            return train(steps)

        return run

    is_single = os.environ.get("OMP_NUM_THREADS") == "1"
    counts = sorted({1, 1 if is_single else os.cpu_count() or 1})
    return {
        ", ".join(filter(None, [name, f"{count} thread{'s' * (count > 1)}"])): fixed(
            train, count
        )
        for (name, train), count in itertools.product(variants.items(), counts)
    }


def book(job: Job) -> dict[str, Train]:
    """Returns the loop of Modern Computer Vision with PyTorch, chapter 3."""
    images, labels = map(torch.from_numpy, job.uint8())
    dataset = FMNISTDataset(images, labels.long())
    loader = DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True)
    model, loss_fn = network(job), nn.CrossEntropyLoss()
    optimizer = make_optimizer(job, model.parameters())

    def train(steps: int) -> list[float]:
        losses = []
        for x, y in itertools.islice(loader, steps):
            model.train()
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return with_threads({"": train})


def tuned(job: Job) -> dict[str, Train]:
    """Returns a loop over tensors in memory, with and without a fused optimizer."""
    x, y = tensors(job)
    loss_fn = nn.CrossEntropyLoss()

    def loop(**options: Any) -> Train:
        model = network(job)
        optimizer = make_optimizer(job, model.parameters(), **options)

        def train(steps: int) -> float:
            total = torch.zeros(())
            order = torch.randperm(len(x))[: steps * BATCH_SIZE]
            for rows in order.split(BATCH_SIZE):
                optimizer.zero_grad()
                loss = loss_fn(model(x[rows]), y[rows])
                loss.backward()
                optimizer.step()
                total += loss.detach()
            return total.item()

        return train

    return with_threads({"": loop(), "fused": loop(fused=True)})
