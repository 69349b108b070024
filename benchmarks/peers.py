"""The peers to compare and their requirements; imports none of the peers."""

import dataclasses
import importlib.util
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Peer:
    """A way to train networks.

    Attributes:
      title: the title in the table.
      make: "module:function" of this package. The function takes a ``Job`` and returns
        variants by name, of which a worker uses the fastest.
      requires: the libraries that must be installed.
      runs: number of networks that a process trains at once, or "many" (8 networks of
        128 units, 4 of 1000).
      processes: number of processes that train at the same time.
      env: environment variables of the workers.
    """

    title: str
    make: str
    requires: tuple[str, ...]
    runs: int | str = 1
    processes: int = 1
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)


_TORCH, _JAX = ("torch",), ("jax", "flax", "optax")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_ON_JAX, _ON_TENSORFLOW = {"KERAS_BACKEND": "jax"}, {"KERAS_BACKEND": "tensorflow"}
# In the order of the table.
PEERS: Mapping[str, Peer] = {
    "book": Peer("PyTorch, the book's loop with DataLoader", "on_torch:book", _TORCH),
    "torch": Peer("PyTorch, tensors in memory", "on_torch:tuned", _TORCH),
    "torch_x2": Peer(
        "PyTorch, tensors in memory, two one-thread processes", "on_torch:tuned",
        _TORCH, processes=2, env=_ONE_THREAD,
    ),
    "torch_bmm": Peer("PyTorch, `bmm` ensemble", "ensembles:bmm", _TORCH, "many"),
    "torch_vmap": Peer("PyTorch, `torch.func.vmap`", "ensembles:vmap", _TORCH, "many"),
    "keras_jax": Peer(
        "Keras 3 `fit` on JAX", "on_keras:fit", ("keras", "jax"), env=_ON_JAX
    ),
    "keras_jax_n": Peer(
        "Keras 3 `fit` on JAX, `steps_per_execution`", "on_keras:fit_together",
        ("keras", "jax"), env=_ON_JAX,
    ),
    "keras_tf": Peer(
        "Keras 3 `fit` on TensorFlow", "on_keras:fit", ("keras", "tensorflow"),
        env=_ON_TENSORFLOW,
    ),
    "keras_tf_n": Peer(
        "Keras 3 `fit` on TensorFlow, `steps_per_execution`", "on_keras:fit_together",
        ("keras", "tensorflow"), env=_ON_TENSORFLOW,
    ),
    "flax_loop": Peer("Flax, the MNIST example's loop", "on_jax:flax_loop", _JAX),
    "jax_vmap": Peer("JAX, plain `vmap` sweep", "on_jax:vmap_sweep", _JAX, "many"),
    "ours_1": Peer("**fmnist_jax**", "ours:sweep", _JAX, 1),
    "ours_9": Peer("**fmnist_jax**", "ours:sweep", _JAX, 9),
    "ours_many": Peer("**fmnist_jax**", "ours:sweep", _JAX, "many"),
}  # fmt: skip
OURS = ("ours_many", "ours_9", "ours_1")
MACHINE = Peer("the machine", "machine:rates", _JAX)


def num_runs(peer: Peer, width: int) -> int:
    """Returns the number of networks that a process of a peer trains at once."""
    if isinstance(peer.runs, int):
        return peer.runs
    return 8 if width < 512 else 4


def missing(peer: Peer) -> tuple[str, ...]:
    """Returns the libraries that a peer requires but that are not installed."""
    find = importlib.util.find_spec
    return tuple(name for name in peer.requires if find(name) is None)
