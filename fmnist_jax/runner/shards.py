"""The flags that divide the runs of a sweep among processes."""

from collections.abc import Mapping, Sequence
from typing import Any

from fmnist_jax.errors import UserError
from fmnist_jax.runner.flags import SHARING, parse_value
from fmnist_jax.sweeps.plan_file import ALONE, Share
from fmnist_jax.values import ValueType, integer


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and 1 <= int(port) <= 65_535


ADDRESS = ValueType("HOST:PORT, the port from 1 to 65535", accepts=_is_address)


def share(options: Mapping[str, Any]) -> Share:
    """Returns this process's share; raises UserError if it is not allowed."""
    total = options["num_shards"]
    if total is None:
        return ALONE
    index = parse_value("shard_index", integer(0, total - 1), options["shard_index"])
    return Share(index, total)


def check(options: Mapping[str, Any], experiments: Sequence[Any]) -> None:
    """Raises UserError for flags that are not allowed together, or their values."""
    given = {name for name in SHARING if options[name]}
    if not given:
        return
    if len(experiments) > 1 or options["out_dir"] is None:
        raise UserError(
            f"--{min(given)} needs a single experiment and its --out_dir, the folder "
            "for the runs of the share."
        )
    processes = {"coordinator", "num_processes", "process_id"}
    shards, by_cluster = {"num_shards", "shard_index"}, {"distributed"}
    if given not in (shards, by_cluster, by_cluster | processes):
        raise UserError(
            "Runs are shared either by --num_shards=4 --shard_index=2, or by "
            "--distributed, alone or with --coordinator=HOST:PORT --num_processes=4 "
            f"--process_id=2; given: --{', --'.join(sorted(given))}."
        )
    share(options)
    if processes < given:
        last = options["num_processes"] - 1
        parse_value("coordinator", ADDRESS, options["coordinator"])
        parse_value("process_id", integer(0, last), options["process_id"])
