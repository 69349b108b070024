"""The flags that divide the runs of a sweep among processes."""

from collections.abc import Mapping, Sequence
from typing import Any

from fmnist_jax.errors import UserError
from fmnist_jax.runner.flag_table import SHARD_FLAGS
from fmnist_jax.runner.flag_values import parse_value
from fmnist_jax.sweeps.plan_file import SINGLE, Shard
from fmnist_jax.values import integer


def from_options(options: Mapping[str, Any]) -> Shard:
    """Returns this process's shard; raises UserError if it is not allowed."""
    total = options["num_shards"]
    if total is None:
        return SINGLE
    index = parse_value("shard_index", integer(0, total - 1), options["shard_index"])
    return Shard(index, total)


def check(options: Mapping[str, Any], experiments: Sequence[Any]) -> None:
    """Raises UserError for flags that are not allowed together, or their values."""
    given = {name for name in SHARD_FLAGS if options[name]}
    if not given:
        return
    if len(experiments) > 1 or options["out_dir"] is None:
        raise UserError(
            f"--{min(given)} requires a single experiment and an explicit --out_dir "
            "for the results of the shard."
        )
    if len(given) < len(SHARD_FLAGS):
        raise UserError(
            f"--{min(given)} is given alone; a shard needs both --num_shards=4 and "
            "--shard_index=2."
        )
    from_options(options)
