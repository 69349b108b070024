"""The contestants of ``benchmarks.tuners``, and their processes.

``python -m benchmarks.tuner_contestants`` reads a job from standard input, and writes
the answer to standard output; both are JSON.
"""

import importlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks import scripts
from benchmarks.peers import Peer
from benchmarks.tuner_task import Setting, Task

_OPTUNA, _KERAS = ("optuna", "torch"), ("keras", "keras_tuner")
# "module:function" of this package: the function takes a Task and returns an Answer.
# In the order of the table; the others are compared with the first.
CONTESTANTS: Mapping[str, Peer] = {
    "ours": Peer(
        "**fmnist_jax**, `recommend`", "tuner_ours:recommended", ("jax", "flax")
    ),
    "halving": Peer("fmnist_jax, `halving`", "tuner_ours:search", ("jax", "flax")),
    "optuna": Peer(
        "Optuna, TPE and Hyperband, PyTorch", "tuner_optuna:hyperband", _OPTUNA
    ),
    "optuna_x2": Peer(
        "Optuna, TPE and Hyperband, PyTorch, a process per core",
        "tuner_optuna:hyperband_in_parallel", _OPTUNA,
    ),
    "optuna_sha": Peer(
        "Optuna, TPE and successive halving, PyTorch",
        "tuner_optuna:successive_halving",
        _OPTUNA,
    ),
    "keras_jax": Peer(
        "Keras Tuner, Hyperband, JAX", "tuner_keras:hyperband", (*_KERAS, "jax"),
        env={"KERAS_BACKEND": "jax"},
    ),
    "keras_torch": Peer(
        "Keras Tuner, Hyperband, PyTorch", "tuner_keras:hyperband", (*_KERAS, "torch"),
        env={"KERAS_BACKEND": "torch"},
    ),
    "keras_tf": Peer(
        "Keras Tuner, Hyperband, TensorFlow", "tuner_keras:hyperband",
        (*_KERAS, "tensorflow"), env={"KERAS_BACKEND": "tensorflow"},
    ),
}  # fmt: skip
DEFAULT = ("ours", "optuna_x2", "keras_jax")


def answer(job: Mapping[str, Any]) -> Any:
    """Returns the answer to a job, to be written as JSON."""
    if "retrain" in job:
        from benchmarks.tuner_ours import retrain

        return retrain(Task(**job["retrain"]), Setting(**job["setting"]), job["seeds"])
    task = Task(**job["search"])
    module, function = CONTESTANTS[task.contestant].make.split(":")
    search = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    result = search(task)
    best = result.best._asdict() | {"setting": result.best.setting._asdict()}
    return result._asdict() | {"best": best}


def main() -> None:
    """Answers one job."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the output of libraries goes to the log
    print(json.dumps(answer(json.load(sys.stdin))), file=answers, flush=True)


if __name__ == "__main__":
    scripts.run(main, __doc__)
