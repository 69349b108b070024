"""Command lines for tests: of tiny data, parsed, or run in a shell."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from fmnist_jax.runner import flags

ROOT = Path(__file__).parents[1]
TINY = ["--dataset=synthetic", "--train_examples=96", "--test_examples=50"]


def options(*arguments: str) -> dict[str, Any]:
    return flags.parse(["program", *arguments])


def command(*arguments: str, module: str = "experiments.scale_sweep") -> Any:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True,
        cwd=ROOT, env=os.environ, check=False,
    )  # fmt: skip
