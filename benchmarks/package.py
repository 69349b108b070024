"""Wheel and sdist, and the example of the README in environments that have only them.

    python -m benchmarks.package       # or: make package

Builds both in the folder dist, checks them with twine, and installs the wheel with pip
and the sdist with uv, each into an empty environment, where the example of the README
runs on little synthetic data. Needs build, twine and uv, and a package index: about
three minutes.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SMALLER = {
    'load("fashion_mnist")': 'load("synthetic", train_examples=64)',
    "num_epochs=5": "num_epochs=2, hidden_sizes=(4,)",
    "np.logspace(-5, 0, 16)": "np.logspace(-5, 0, 2)",
}


def readme_example() -> str:
    """Returns the example of the README with fewer data, and a line that prints sizes.

    Raises:
      ValueError: if README.md has no example, or one that cannot be made smaller.
    """
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", readme, re.S)
    if block is None or not all(full in block[1] for full in SMALLER):
        raise ValueError("README.md lacks the example of the library")
    code = block[1]
    for full, small in SMALLER.items():
        code = code.replace(full, small)
    return code + "\nprint(dict(ds.sizes))"


def main() -> None:
    """Builds and checks the package.

    Raises:
      subprocess.CalledProcessError: if a step fails.
    """
    dist = ROOT / "dist"
    for old in dist.glob("fmnist_jax-*"):
        old.unlink()
    run(sys.executable, "-m", "build", "--outdir", str(dist), str(ROOT))
    files = [str(path) for path in sorted(dist.glob("fmnist_jax-*"))]
    run(sys.executable, "-m", "twine", "check", "--strict", *files)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as folder:
        pip, uv = Path(folder) / "pip", Path(folder) / "uv"
        run(sys.executable, "-m", "venv", str(pip))
        run(str(pip / "bin" / "python"), "-m", "pip", "install", "--quiet", str(wheel))
        run(sys.executable, "-m", "uv", "venv", "--quiet", str(uv))
        python = str(uv / "bin" / "python")
        install = ("pip", "install", "--quiet", "--python", python, str(sdist))
        run(sys.executable, "-m", "uv", *install)
        for environment in (pip, uv):
            print(f"{environment.name}:", end=" ", flush=True)
            command = (str(environment / "bin" / "python"), "-c", readme_example())
            run(*command, folder=folder)


def run(*command: str, folder: str | Path = ROOT) -> None:
    """Runs a command without PYTHONPATH, in a folder."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, cwd=folder, env=env)


if __name__ == "__main__":
    from benchmarks import scripts

    scripts.run(main, __doc__)
