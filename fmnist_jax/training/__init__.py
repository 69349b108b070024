"""One run as pure functions, which work plain, jitted and vmapped."""

from fmnist_jax.data.normalization import Normalization as Normalization
from fmnist_jax.data.normalization import fit_normalization as fit_normalization
from fmnist_jax.training.evaluation import EVALUATION_BATCH as EVALUATION_BATCH
from fmnist_jax.training.evaluation import evaluate as evaluate
from fmnist_jax.training.evaluation import judged_examples as judged_examples
from fmnist_jax.training.loop import end_epoch as end_epoch
from fmnist_jax.training.loop import epoch_order as epoch_order
from fmnist_jax.training.loop import example_order as example_order
from fmnist_jax.training.loop import run_epoch as run_epoch
from fmnist_jax.training.loop import run_keys as run_keys
from fmnist_jax.training.loop import train as train
from fmnist_jax.training.loop import train_epoch as train_epoch
from fmnist_jax.training.normalization import normalize as normalize
from fmnist_jax.training.step import Metrics as Metrics
from fmnist_jax.training.step import State as State
from fmnist_jax.training.step import Stopping as Stopping
from fmnist_jax.training.step import accuracy as accuracy
from fmnist_jax.training.step import forward as forward
from fmnist_jax.training.step import gradients as gradients
from fmnist_jax.training.step import hidden_values as hidden_values
from fmnist_jax.training.step import init as init
from fmnist_jax.training.step import scaled_inputs as scaled_inputs
from fmnist_jax.training.step import train_step as train_step
from fmnist_jax.training.step import updates as updates
