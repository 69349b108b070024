"""The claims of the sources: the measurements that each needs, and its rule."""

from collections.abc import Callable, Mapping, Sequence

import xarray as xr

from experiments.reproduction import scale_claims as scale
from experiments.reproduction import training_claims as training
from experiments.reproduction.configurations import (
    BUGS,
    CONFIGURATIONS,
    configurations_of,
)
from experiments.reproduction.findings import Finding

# Measured without training a configuration; see ``measuring``.
UNTRAINED = ("curvature", "scaling", "epoch-seconds")
# Claim -> its rule, and the names of the measurements that the rule takes.
DECISIONS: Mapping[str, tuple[Callable[..., Finding], Sequence[str]]] = {
    "claim-less-time": (
        scale.less_time,
        [
            *("epoch-seconds", "book-255"),
            *("book-1", "book-1-rate-0.0001", "book-1-rate-1e-06"),
        ],
    ),
    "claim-needs-time": (
        scale.needs_time,
        ["keras-255", "keras-1000", "keras-1", "keras-1-logits"],
    ),
    "claim-sigmoid": (scale.sigmoid, ["keras-255", "keras-1", "keras-1-logits"]),
    "claim-softmax-is-sigmoid": (
        scale.softmax_is_sigmoid,
        ["keras-1", "keras-1-logits"],
    ),
    "claim-symmetric": (scale.symmetric, ["curvature"]),
    "claim-batch-updates": (training.batch_updates, ["batch-10000"]),
    "claim-depth-0": (training.depth_0, ["depth-0", "adam-1e-3"]),
    "claim-depth-2": (training.depth_2, ["depth-2", "adam-1e-3"]),
    "claim-adam-faster": (training.adam_faster, ["adam-1e-2", "book-255"]),
    "claim-dropout-gap": (training.dropout_gap, ["adam-1e-3", "dropout"]),
    "claim-dropout-downscale": (training.dropout_downscale, ["scaling"]),
    "claim-l1-gap": (training.l1_gap, ["adam-1e-3", "l1"]),
    "claim-anneal": (training.anneal, ["adam-1e-3", "annealing"]),
    "claim-bn-rescues": (
        scale.bn_rescues,
        ["tiny-input", "tiny-input-bn-frozen", "tiny-input-bn", "adam-1e-3"],
    ),
    "claim-unscaled-low-rate": (
        scale.unscaled_low_rate,
        [
            *("lr-.1-unscaled", "lr-1e-3-unscaled", "lr-1e-5-unscaled"),
            *("book-1", "book-1-rate-0.0001", "book-1-rate-1e-06"),
        ],
    ),
    "claim-shuffle": (
        training.shuffle,
        ["lab-fashion_mnist-255", "order-file", "order-sorted"],
    ),
    "claim-255-huge": (
        scale.huge_255,
        [
            *("book-255", "book-1"),
            *("lab-fashion_mnist-255", "lab-fashion_mnist-1"),
            *("keras-255", "keras-1"),
        ],
    ),
    "claim-majority": (training.majority, []),
}


def required_measurements(names: Sequence[str]) -> list[str]:
    """Returns the measurements that rows and claims need, in the order of training.

    If a row shows a source's bug, it needs all configurations of that bug.
    """
    rows = {c for name in names for c in configurations_of(name)}
    claims = {c for n in names if n in DECISIONS for c in DECISIONS[n][1]}
    bugs = {c for bug in BUGS.values() if rows & set(bug[::2]) for c in bug}
    order = [*UNTRAINED, *CONFIGURATIONS]
    return sorted(rows | claims | bugs, key=order.index)


def decide(claim: str, measurements: Mapping[str, xr.Dataset]) -> Finding:
    """Decides a claim by the rule and the measurements of ``DECISIONS``."""
    rule, names = DECISIONS[claim]
    return rule(*(measurements[name] for name in names))
