"""Random points in a box of settings. Imports no jax."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fmnist_jax.config import TRACED, is_log
from fmnist_jax.errors import UserError, check_is
from fmnist_jax.values import COUNT, SEED, WHOLE_NUMBER, plain

DIGITS = 4  # significant digits of a sampled value, so that tables show it in full


def sample_points(
    spans: Mapping[str, tuple[float, float]], num_points: int, seed: int = 0
) -> list[dict[str, float]]:
    """Returns random points, to be used in ``sweep`` as an axis ``{"point": points}``.

    They are the first points of a scrambled Sobol sequence, which fills the ranges more
    evenly than independent random numbers do. With the same seed, a longer list begins
    with the points of a shorter list. See Owen, "Randomly permuted (t,m,s)-nets and
    (t,s)-sequences", 1995.

    Args:
      spans: name of a traced setting to its minimum and maximum. Settings that figures
        show on a log scale, such as the learning rate, are log-uniform between positive
        ends; the others are uniform.
      num_points: number of points.
      seed: seed of the scrambling.

    Returns:
      The settings of each point, rounded to four digits.

    Raises:
      UserError: for a setting that is not one of ``Hparams``, ends that are not allowed
        or not ascending, or no settings.
    """
    check_is("spans", spans, Mapping, "a dict of settings to (minimum, maximum)")
    for name, value, value_type in (
        ("num_points", num_points, COUNT),
        ("seed", seed, SEED),
    ):
        if not value_type.accepts(plain(value)):
            raise UserError(f"{name} is {value!r}; expected {value_type.allowed}.")
    if not spans:
        raise UserError("There are no settings to sample: give at least one.")
    ends = {name: _checked(name, plain(span)) for name, span in spans.items()}
    shares = _sobol(len(spans), num_points, seed)
    columns = [_spread(n, *ends[n], shares[:, i]) for i, n in enumerate(ends)]
    return [dict(zip(ends, row, strict=True)) for row in zip(*columns, strict=True)]


def _checked(name: str, span: Any) -> tuple[float, float]:
    if name not in TRACED:
        raise UserError(
            f"{name} cannot be sampled; expected a numeric field of Hparams, such as "
            "learning_rate."
        )
    accepts = TRACED[name].value_type.accepts
    match span:
        case (low, high) if accepts(low) and accepts(high) and low < high:
            return float(low), float(high)
    raise UserError(
        f"The span of {name} is {span!r}; expected a minimum and a larger maximum, "
        f"each {TRACED[name].value_type.allowed}."
    )


def _sobol(dimensions: int, num_points: int, seed: int) -> np.ndarray:
    """Returns points in the unit cube, ``[num_points, dimensions]``."""
    from scipy.stats import qmc  # slow to import

    sequence = qmc.Sobol(dimensions, seed=seed)
    # The sequence is balanced only if its length is a power of 2.
    exponent = math.ceil(math.log2(num_points))
    return np.asarray(sequence.random_base2(exponent))[:num_points]


def _spread(name: str, low: float, high: float, shares: np.ndarray) -> list[float]:
    """Returns the values at shares of the way from ``low`` to ``high``."""
    if is_log(name) and low > 0:
        values = np.exp(np.log(low) + shares * np.log(high / low))
    else:
        values = low + shares * (high - low)
    rounded = [float(f"{value:.{DIGITS}g}") for value in values]
    if TRACED[name].value_type is WHOLE_NUMBER:
        rounded = [float(round(value)) for value in rounded]
    return [min(max(value, low), high) for value in rounded]
