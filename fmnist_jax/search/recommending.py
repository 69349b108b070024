"""Recommends a scaling of the inputs, an optimizer and a learning rate for a data set.

See ``search.finalists`` for how.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fmnist_jax.analysis.recommendation import Recommendation, recommendation
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError, check_is
from fmnist_jax.search.candidates import AXES, NUM_SEEDS, VALIDATION_SHARE
from fmnist_jax.search.finalists import FINALISTS, Recommending
from fmnist_jax.search.rungs import Rungs
from fmnist_jax.search.scalings import part_of, traced_scalings
from fmnist_jax.sweeps.axes import check_sweep, drop_unread

if TYPE_CHECKING:
    from distributed import Client

ACCURACY = "validation_accuracy"  # ranks the settings
BATCHES = 200  # of training examples, in the part of the data
MIN_STEPS = 500  # minimum per run; small data get more epochs
MIN_EPOCHS = 9  # on the part


def prepared(
    axes: Mapping[str, Any], data: Data, config: Config, hparams: Hparams
) -> tuple[dict[str, Any], Config, Recommending]:
    """Returns axes and static settings of the search on a part of data, and the search.

    ``axes`` maps "scaling" to labelled settings (normalization, offset and divisor),
    "seed" to the seeds of the runs on all data, and further settings to their values,
    as ``sweep`` takes them.

    ``config`` has the ``num_epochs`` of the runs on all data. It is raised if the
    training set is so small that ``MIN_STEPS`` steps take more epochs. Data without
    classes are refused.
    """
    checked, programs = check_sweep(axes, config, hparams)
    _check(data, hparams, programs)
    size = len(data.train.labels)
    batch_size = min(config.batch_size, size)
    few = min(size, BATCHES * batch_size)
    epochs, last = (
        max(least, math.ceil(MIN_STEPS / math.ceil(examples / batch_size)))
        for least, examples in ((config.num_epochs, size), (MIN_EPOCHS, few))
    )
    config = dataclasses.replace(config, batch_size=batch_size, evaluate_train=False)
    full = dataclasses.replace(config, num_epochs=epochs)
    # Not the loss: networks that overfit few images have a high loss, and are accurate.
    rungs = Rungs((last // 9, last // 3, last), by=ACCURACY, fewest=FINALISTS)
    search = Recommending(data, part_of(data, few), full, rungs, checked["seed"])
    bundles = {str(bundle.label): bundle.settings for bundle in checked["scaling"]}
    scalings = traced_scalings(bundles, data)
    axes = {**axes, "scaling": scalings, "seed": checked["seed"][:1]}
    return axes, dataclasses.replace(config, num_epochs=last), search


def _check(data: Data, hparams: Hparams, programs: Iterable[Config]) -> None:
    """Raises UserError for what a recommendation cannot be chosen by."""
    if data.targets != "classes":
        raise UserError(
            "A recommendation compares accuracies, and these targets have no classes; "
            "use halving with by='validation_loss' instead."
        )
    if len({program.loss for program in programs}) > 1:
        raise UserError("A recommendation is for one loss; choose one.")
    for name in ("offset", "divisor"):
        if getattr(hparams, name) is not None:
            raise UserError(
                f"hparams sets {name}, but so do the scalings; leave it None."
            )


def recommend(
    data: Data,
    model: Any = None,
    config: Config = Config(),  # noqa: B008 - frozen
    hparams: Hparams = Hparams(),  # noqa: B008 - frozen
    *,
    axes: Mapping[str, Any] = MappingProxyType({}),
    folder: Path | str | None = None,
    progress: bool = False,
    client: "Client | None" = None,
) -> Recommendation:
    """Recommends a scaling of the inputs, an optimizer and a learning rate.

    Args:
      data: training and test set, of classes. A sixth of the training set is held out
        for validation if there is no validation set.
      model: network, as ``Config`` takes it; None for the MLP of ``config``.
      config: static settings; ``num_epochs`` is that of the runs on all data, and is
        raised for small data, to 500 steps.
      hparams: further settings.
      axes: as ``sweep`` takes them, in addition to ``AXES`` or in place of some of it.
      folder: where checkpoints are saved, as in ``sweep``.
      progress: whether to show a progress bar on stderr.
      client: of a Dask cluster, as in ``sweep``.

    Returns:
      The recommendation. Its ``results`` are those of ``sweep`` for the settings that
      were trained on all data, and what the search showed along ``tried_…`` axes.

    Raises:
      UserError: as ``sweep``; for data without classes, or if every run diverged.
      SweepInterrupted: on Ctrl-C; its ``results`` are those so far.
    """
    from fmnist_jax.sweeps.cluster import plan_for  # imports jax
    from fmnist_jax.sweeps.running import run_search
    from fmnist_jax.sweeps.sweep import check_findings

    check_is("data", data, Data, "a Data, such as load() returns")
    if data.validation is None:
        data = data.with_validation_share(VALIDATION_SHARE)
    config = config if model is None else dataclasses.replace(config, model=model)
    every = {**AXES, "seed": range(NUM_SEEDS), **axes}
    every, config, search = prepared(every, data, config, hparams)
    whole, on = plan_for(client, every, data, *drop_unread(every, config, hparams))
    check_findings(whole, data)
    how = folder, progress, None, on
    stages = run_search(search, "recommend", whole, data, *how)
    return recommendation(search.labelled(stages)[0])
