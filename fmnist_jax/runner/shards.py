"""The flags that divide the runs of a sweep among processes."""

from collections.abc import Mapping, Sequence
from typing import Any

from fmnist_jax.errors import UserError
from fmnist_jax.runner.flag_table import SHARD_FLAGS
from fmnist_jax.runner.flag_values import parse_value
from fmnist_jax.sweeps.plan_file import SINGLE, Shard
from fmnist_jax.values import ValueType, integer


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and 1 <= int(port) <= 65_535


ADDRESS = ValueType("HOST:PORT, the port from 1 to 65535", accepts=_is_address)


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
    processes = {"coordinator", "num_processes", "process_id"}
    shards, by_cluster = {"num_shards", "shard_index"}, {"distributed"}
    if given not in (shards, by_cluster, by_cluster | processes):
        raise UserError(
            "Runs are divided either by --num_shards=4 --shard_index=2, or by "
            "--distributed, alone or with --coordinator=HOST:PORT --num_processes=4 "
            f"--process_id=2; given: --{', --'.join(sorted(given))}."
        )
    from_options(options)
    if processes < given:
        last = options["num_processes"] - 1
        parse_value("coordinator", ADDRESS, options["coordinator"])
        parse_value("process_id", integer(0, last), options["process_id"])
