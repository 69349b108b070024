"""Optuna: TPE with a pruner; the network is trained in PyTorch."""

import functools
import importlib
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import tuner_task
from benchmarks.tuner_task import Answer, Outcome, Setting, Task, answer_of
from fmnist_jax.devices import num_cpu_cores

STEPS_TIMED = 30

Tensors = dict[str, tuple[Any, Any]]  # inputs and labels by split


def network(num_inputs: int) -> Any:
    """Returns a network with Keras' default initial weights."""
    model = nn.Sequential(
        nn.Linear(num_inputs, tuner_task.WIDTH),
        nn.ReLU(),
        nn.Linear(tuner_task.WIDTH, tuner_task.NUM_CLASSES),
    )
    for layer in (model[0], model[2]):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return model


def train_epoch(
    model: Any, optimizer: Any, part: tuple[Any, Any], batch_size: int, steps: int = -1
) -> None:
    """Trains for an epoch on shuffled tensors in memory, or for fewer steps."""
    x, y = part
    batches = torch.randperm(len(x)).split(batch_size)
    for rows in batches if steps < 0 else batches[:steps]:
        optimizer.zero_grad()
        logits = model(x.index_select(0, rows))
        nn.functional.cross_entropy(logits, y.index_select(0, rows)).backward()
        optimizer.step()


@torch.no_grad()
def evaluate(model: Any, part: tuple[Any, Any]) -> tuple[float, float]:
    """Returns the loss and the accuracy."""
    x, y = part
    logits = model(x)
    accuracy = (logits.argmax(1) == y).float().mean().item()
    return nn.functional.cross_entropy(logits, y).item(), accuracy


def start(num_inputs: int, setting: Setting) -> tuple[Any, Any]:
    """Returns a new network and its optimizer."""
    model = network(num_inputs)
    optimizers = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    make = optimizers[setting.optimizer]
    return model, make(model.parameters(), lr=setting.learning_rate, fused=True)


class Trainer:
    """Trains settings on tensors in memory, with the faster number of threads."""

    def __init__(self, task: Task, max_threads: int | None = None) -> None:
        self._task, self._data = task, tuner_task.load_data(task.data)
        self.tensors: Callable[[str], Tensors] = functools.cache(self._tensors)
        self.num_threads: Callable[[str, int], int] = functools.cache(self._fastest)
        self._max_threads = max_threads or torch.get_num_threads()

    def _tensors(self, normalization: str) -> Tensors:
        inputs = tuner_task.inputs_of(self._task, self._data, normalization)
        labels = {s: part.labels for s, part in self._data.splits.by_name.items()}
        return {
            split: (torch.from_numpy(x), torch.tensor(labels[split]).long())
            for split, x in inputs.items()
        }

    def _fastest(self, optimizer: str, batch_size: int) -> int:
        part = self.tensors(tuner_task.NORMALIZATIONS[0])["train"]
        setting = Setting("", optimizer, batch_size, 1e-5)
        model, updates = start(part[0].shape[1], setting)
        seconds = {}
        for count in sorted({1, self._max_threads}):
            torch.set_num_threads(count)
            train_epoch(model, updates, part, batch_size, STEPS_TIMED // 5)
            begin = time.perf_counter()
            train_epoch(model, updates, part, batch_size, STEPS_TIMED)
            seconds[count] = time.perf_counter() - begin
        return min(seconds, key=lambda count: seconds[count])

    def begin(self, setting: Setting) -> tuple[Any, Any, Tensors]:
        """Returns a new network, its optimizer and the tensors."""
        tensors = self.tensors(setting.normalization)
        count = self.num_threads(setting.optimizer, setting.batch_size)
        torch.set_num_threads(count)
        return *start(tensors["train"][0].shape[1], setting), tensors


def suggested(trial: Any) -> Setting:
    """Returns the setting that the sampler suggests."""
    low, high = tuner_task.LEARNING_RATES
    return Setting(
        trial.suggest_categorical("normalization", tuner_task.NORMALIZATIONS),
        trial.suggest_categorical("optimizer", tuner_task.OPTIMIZERS),
        trial.suggest_categorical("batch_size", tuner_task.BATCH_SIZES),
        trial.suggest_float("learning_rate", low, high, log=True),
    )


def _study(task: Task, pruner: str, storage: str | None, worker: int) -> Any:
    """Returns a new study, or the one that other workers share in a file."""
    optuna = importlib.import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = optuna.storages.journal
    options: dict[str, Any] = {"min_resource": 1, "reduction_factor": 3}
    if pruner == "HyperbandPruner":
        options["max_resource"] = tuner_task.EPOCHS
    return optuna.create_study(
        storage=storage
        and optuna.storages.JournalStorage(journal.JournalFileBackend(storage)),
        direction="minimize" if tuner_task.SIGNS[task.by] > 0 else "maximize",
        sampler=optuna.samplers.TPESampler(seed=1000 * task.seed + worker),
        pruner=getattr(optuna.pruners, pruner)(**options),
        study_name=f"seed {task.seed}",  # decides the brackets
        load_if_exists=True,
    )


def _search(
    task: Task, pruner: str, storage: str | None = None, worker: int = 0
) -> Answer:
    """Searches in this process; with ``storage``, as one of several workers."""
    optuna = importlib.import_module("optuna")
    trainer = Trainer(task, None if storage is None else 1)
    outcomes: dict[int, Outcome] = {}
    best: dict[int, Any] = {}  # models of the best trial and the current one

    def objective(trial: Any) -> float:
        torch.manual_seed(1000 * task.seed + trial.number)
        setting = suggested(trial)
        model, optimizer, tensors = trainer.begin(setting)
        score = math.nan
        for epoch in range(1, tuner_task.EPOCHS + 1):
            train_epoch(model, optimizer, tensors["train"], setting.batch_size)
            loss, accuracy = evaluate(model, tensors["validation"])
            best[trial.number] = model, tensors["test"]
            outcomes[trial.number] = Outcome(setting, epoch, loss, accuracy, math.nan)
            top = min(outcomes, key=lambda n: outcomes[n].rank(task.by))
            for number in {*best} - {top, trial.number}:
                del best[number]
            score = loss if task.by == "validation_loss" else accuracy
            if not math.isfinite(score):
                raise optuna.TrialPruned
            trial.report(score, epoch)
            if epoch < tuner_task.EPOCHS and trial.should_prune():
                raise optuna.TrialPruned
        return score

    study = _study(task, pruner, storage, worker)
    try:
        with task.interrupted_at_end():
            study.optimize(objective, timeout=task.seconds_left)
    except KeyboardInterrupt:
        pass
    answer = answer_of(task, outcomes.values())
    top = min(outcomes, key=lambda n: outcomes[n].rank(task.by))
    _, accuracy = evaluate(*best[top])
    return answer._replace(best=answer.best._replace(test_accuracy=accuracy))


def hyperband(task: Task) -> Answer:
    """Searches with Hyperband's brackets."""
    return _search(task, "HyperbandPruner")


def successive_halving(task: Task) -> Answer:
    """Searches with asynchronous successive halving."""
    return _search(task, "SuccessiveHalvingPruner")


def hyperband_in_parallel(task: Task) -> Answer:
    """Searches with Hyperband in a process per core, which share a study."""
    workers = range(num_cpu_cores())
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        storage = str(Path(folder, "journal.log"))
        search = functools.partial(_search, task, "HyperbandPruner", storage)
        with ProcessPoolExecutor(len(workers), mp_context=spawn) as pool:
            answers = list(pool.map(search, workers))
    best = min((answer.best for answer in answers), key=lambda o: o.rank(task.by))
    settings, epochs, seconds = zip(*(answer[1:] for answer in answers), strict=True)
    return Answer(best, sum(settings), sum(epochs), max(seconds))
