"""``experiments.recommend`` and ``--model`` on command lines."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.recommend import EXPERIMENT
from experiments.scale_sweep import EXPERIMENT as SCALE_SWEEP
from fmnist_jax.analysis import results
from fmnist_jax.analysis.recommendation import recommendation
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError
from fmnist_jax.runner import command_line, flags, jobs
from fmnist_jax.runner.own_model import network
from fmnist_jax.search import recommending
from fmnist_jax.search.candidates import AXES
from tests.sweeps.runs import make_data

SMALL = [
    *("--dataset=synthetic", "--train_examples=240", "--test_examples=60"),
    *("--num_seeds=2", "--hidden_sizes=6", "--optimizers=sgd"),
    *("--learning_rates=1e-3,1e-2,1e-1", "--epochs=1"),
]
NETWORKS = """
import flax.linen as nn

from fmnist_jax import Network, from_nnx


class Net(nn.Module):
    width: int = 5

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(self.width)(x.reshape(len(x), -1))
        return nn.Dense(10)(nn.relu(x))


net = Net(7)
pair = Network(lambda key, x: {}, lambda variables, x: x.reshape(len(x), -1)[:, :10])


def wide():
    return Net(width=9)


def needs(width):
    return Net(width)


def number():
    return 3


def forgets():
    Net()


def leaves():
    raise SystemExit(0)


def fails():
    raise ZeroDivisionError("no width")
"""


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_networks.py").write_text(NETWORKS)
    (tmp_path / "broken_networks.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    return "my_networks"


@pytest.mark.slow
def test_the_command_answers_and_records_the_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recommending, "MIN_STEPS", 30)
    argv = ["recommend", *SMALL, f"--out_dir={tmp_path}"]
    command_line.execute([EXPERIMENT], argv)
    printed = capsys.readouterr().out
    dataset = results.load(tmp_path)
    advice = recommendation(dataset)
    for sentence in advice.sentences:
        assert sentence in printed
    for lines in advice.code.values():
        assert "; ".join(lines) in printed
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings["recommended"] == advice.settings
    expected = {"normalization", "divisor", "optimizer", "learning_rate"}
    assert expected <= settings["recommended"].keys()
    for name in ("recommendation.png", "finalists.csv", "summary.csv"):
        assert (tmp_path / name).exists()
    assert "Successive halving of" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--halving"], "--halving cannot be used with recommend, which trains in"),
        (["--extend"], "--extend cannot be used with recommend"),
        (["--num_shards=2"], "--num_shards cannot be used with recommend"),
        (["--keep_states=best"], "--keep_states cannot be used with recommend"),
        (["--zip=learning_rates,b1s"], "--zip cannot be used with recommend"),
        (["--divisors=3"], "recommend compares fixed settings"),
        (["--offsets=3"], "recommend compares fixed settings"),
        (["--model=networks"], "--model=networks: expected module:factory"),
    ],
)
def test_flags_that_it_cannot_use_are_refused(
    arguments: list[str], message: str
) -> None:
    options = flags.parse(["recommend", *arguments], [EXPERIMENT])
    with pytest.raises(UserError, match=message):
        jobs.make_job(EXPERIMENT, options)


@pytest.mark.parametrize(
    ("name", "width"), [("Net", 5), ("net", 7), ("wide", 9), ("pair", None)]
)
def test_a_network_is_an_instance_a_class_or_a_function(
    networks: str, name: str, width: Any
) -> None:
    options = flags.parse(["s", f"--model={networks}:{name}"], [SCALE_SWEEP])
    model = jobs.make_job(SCALE_SWEEP, options).config.model
    assert getattr(model, "width", None) == width


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (":net", "expected module:factory, such as my_networks:cnn"),
        ("my_networks", "expected module:factory"),
        ("no_networks:net", "there is no module no_networks in this folder or"),
        ("broken_networks:net", "there is no module no_such_package"),
        ("my_networks:Nett", "Did you mean Net?"),
        ("my_networks:needs", r"needs\(\) failed: TypeError: needs\(\) missing 1"),
        ("my_networks:fails", r"fails\(\) failed: ZeroDivisionError: no width"),
        ("my_networks:forgets", "forgets is None, or returns None"),
        ("my_networks:leaves", r"its code calls sys.exit\(\)"),
        (".my_networks:net", "expected module:factory"),
        ("my_networks.py:net", "no module my_networks.py"),
        ("my_networks:number", "my_networks:number: model is a int; expected a Flax"),
    ],
)
def test_mistakes_have_a_line(networks: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        network(text)


@pytest.mark.slow
def test_another_network_cannot_extend_results(networks: str, tmp_path: Path) -> None:
    argv = ["scale_sweep", "--dataset=synthetic", "--train_examples=96", "--epochs=1"]
    argv += [f"--model={networks}:wide", "--divisors=255", "--losses=softmax"]
    argv += [f"--out_dir={tmp_path / 'out'}"]
    command_line.execute([SCALE_SWEEP], [*argv, "--num_seeds=1"])
    path = tmp_path / "my_networks.py"
    path.write_text(NETWORKS.replace("nn.relu(x)", "nn.tanh(x)"))
    sys.modules.pop(networks)
    with pytest.raises(UserError, match="cannot be extended: model was"):
        command_line.execute([SCALE_SWEEP], [*argv, "--num_seeds=2", "--extend"])


def test_the_fingerprint_has_the_seeds() -> None:
    data = Data(make_data(60, 0), make_data(30, 1)).with_validation(20)
    searches = []
    for count in (2, 3):
        axes = {**AXES, "seed": range(count)}
        searches.append(recommending.prepared(axes, data, Config(), Hparams())[2])
    assert searches[0].settings != searches[1].settings
