"""The measurements of docs: what the scripts compute."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from docs import catapult, predictions
from fmnist_jax import Config, Hparams, epoch_order, load, sweep
from fmnist_jax.probes.sharpness import sharpness_probe


@pytest.mark.slow
def test_the_first_steps_are_those_of_the_run() -> None:
    config = Config(optimizer="sgd", hidden_sizes=(8,), batch_size=16, num_epochs=1)
    hparams = Hparams(divisor=255.0, learning_rate=0.1)
    data = load("synthetic").first(train=catapult.FIRST_STEPS * 16, test=50)
    probes = [sharpness_probe("init"), sharpness_probe("epoch")]
    for seed in (3,):
        order = jnp.asarray(epoch_order(seed, 1, len(data.train.labels)))
        early = catapult.first_steps(
            config, data, data.train, hparams, jnp.asarray(seed), order
        )
        axes = {"seed": [seed]}
        for probe, when in zip(probes, ("before", "after"), strict=True):
            run = sweep(axes, data, config, hparams, [probe]).squeeze()
            assert float(early[when]) == pytest.approx(float(run.sharpness), rel=1e-3)
        assert float(early["loss"].mean()) == pytest.approx(float(run.train_loss), 1e-5)


def test_factors_and_errors_of_the_rules() -> None:
    measured = pd.DataFrame(
        {
            "case": ["B 1", "B 4", "÷30"],
            "criterion": "status",
            "measured": [1.0, 1.0, 1.0],
            **{rule: [2.0, 0.5, 4.0] for rule in predictions.RULES},
        }
    )
    table = predictions.summarise(measured).set_index(["criterion", "rule"])
    every = table.loc["status", "2/λ"]
    assert every["median factor"] == pytest.approx(2)
    assert (every["worst factor"], every["worst case"]) == (pytest.approx(4), "÷30")
    assert every["log10_rmse"] == pytest.approx(np.log10(2) * np.sqrt(2))
    new = table.loc["status, new cases alone", "2/λ"]
    assert new["cases"] == 2
    assert new["log10_rmse"] == pytest.approx(np.log10(2))
    assert new["log10_rmse_fitted"] == pytest.approx(np.log10(2))
