"""Each claim of the sources: the configurations it needs, and what decides it."""

from collections.abc import Mapping

from experiments.reproduction import scale_claims as scale
from experiments.reproduction import training_claims as training
from experiments.reproduction.findings import Decision

SCALES = ("keras-255", "keras-1", "keras-1-logits")
# "curvature", "epoch-seconds" and "scaling" are no trainings: see ``measuring``.
DECISIONS: Mapping[str, Decision] = {
    "claim-less-time": Decision(
        ("epoch-seconds", "book-255", "book-1"), scale.less_time
    ),
    "claim-needs-time": Decision(
        ("keras-1", "keras-255", "keras-1000"), scale.needs_time
    ),
    "claim-sigmoid": Decision(SCALES, scale.sigmoid),
    "claim-softmax-is-sigmoid": Decision(SCALES, scale.softmax_is_sigmoid),
    "claim-symmetric": Decision(("curvature",), scale.symmetric),
    "claim-batch-updates": Decision(("batch-10000",), training.batch_updates),
    "claim-depth-0": Decision(("depth-0", "adam-1e-3"), training.depth_0),
    "claim-depth-2": Decision(("depth-2", "adam-1e-3"), training.depth_2),
    "claim-adam-faster": Decision(("adam-1e-2", "book-255"), training.adam_faster),
    "claim-dropout-gap": Decision(("adam-1e-3", "dropout"), training.dropout_gap),
    "claim-dropout-downscale": Decision(("scaling",), training.dropout_downscale),
    "claim-l1-gap": Decision(("adam-1e-3", "l1"), training.l1_gap),
    "claim-anneal": Decision(("adam-1e-3", "annealing"), training.anneal),
    "claim-bn-rescues": Decision(
        ("tiny-input", "tiny-input-bn", "adam-1e-3"), scale.bn_rescues
    ),
    "claim-unscaled-low-rate": Decision(
        (
            "lr-.1-unscaled", "lr-1e-3-unscaled", "lr-1e-5-unscaled", "book-1",
            "book-1-rate-0.0001", "book-1-rate-1e-06",
        ),
        scale.unscaled_low_rate,
    ),
    "claim-shuffle": Decision(
        ("lab-fashion_mnist-255", "order-file", "order-sorted"), training.shuffle
    ),
    "claim-255-huge": Decision(
        (
            "book-255", "book-1", "lab-fashion_mnist-255", "lab-fashion_mnist-1",
            "keras-255", "keras-1",
        ),
        scale.huge_255,
    ),
    "claim-majority": Decision((), training.majority),
}  # fmt: skip
