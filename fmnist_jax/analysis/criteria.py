"""Which runs count as trained: by status or by a given threshold. No jax."""

import math
import operator

import numpy as np
import xarray as xr

from fmnist_jax.errors import UserError
from fmnist_jax.values import CRITERION, STATUS, parse_criterion

NEVER_TRAINED = ("missing", "diverged", "dead")
# Of a criterion: the variable of the results, and how it is compared.
_VARIABLES = {
    "accuracy": ("final_train_accuracy", operator.ge),
    "loss": ("final_train_loss", operator.le),
}


def judge(dataset: xr.Dataset, criterion: str = STATUS) -> xr.Dataset:
    """Returns results whose ``status`` is decided by another criterion.

    The criterion is "status"; or "accuracy>=0.6" or "loss<=1.2", with any number, for
    the training accuracy or loss after the last epoch, which the results must contain.
    A diverged or dead run is never trained.
    """
    if not CRITERION.accepts(criterion):
        raise UserError(f"criterion is {criterion!r}; expected {CRITERION.allowed}.")
    if criterion == STATUS:
        return dataset
    name, threshold = parse_criterion(criterion)
    variable, compare = _VARIABLES[name]
    if variable not in dataset:
        raise UserError(
            f"The results have no {variable}, so the criterion {criterion} cannot be "
            "applied; choose another, or train the runs again."
        )
    status, is_met = dataset.status, compare(dataset[variable], threshold)
    is_met &= ~status.isin(NEVER_TRAINED)
    values = np.where(status.isin(["trained", "finished"]), "not trained", status)
    meaning = f"after the last epoch, training {criterion}"
    attrs = {"trained": meaning, "not trained": f"not {meaning}"}
    judged = status.copy(data=np.where(is_met, "trained", values))
    return dataset.assign(status=judged.assign_attrs(attrs))


def trains(dataset: xr.Dataset, criterion: str = STATUS) -> xr.DataArray:
    """Returns whether most seeds of each setting are trained, by a criterion."""
    return (judge(dataset, criterion).status == "trained").mean("seed") > 0.5


def usual_criteria(dataset: xr.Dataset) -> list[str]:
    """Returns criteria to compare: the status, stricter and weaker ones, and a loss.

    The accuracies are a quarter and three quarters of the way from that of predicting
    the largest class to 100 %, and the loss is half that of a uniform prediction.
    """
    share = dataset.attrs["largest_class_share"]
    accuracies = [share + part * (1 - share) for part in (0.25, 0.75)]
    loss = math.log(dataset.attrs["num_classes"]) / 2
    return [STATUS, *(f"accuracy>={a:.4g}" for a in accuracies), f"loss<={loss:.4g}"]
