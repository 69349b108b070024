"""An experiment from its command line to its folder."""

from fmnist_jax.runner.command_line import main as main
from fmnist_jax.runner.experiment import Answer as Answer
from fmnist_jax.runner.experiment import Data as Data
from fmnist_jax.runner.experiment import Experiment as Experiment
from fmnist_jax.runner.experiment import Figures as Figures
from fmnist_jax.runner.experiment import Job as Job
from fmnist_jax.runner.experiment import Plan as Plan
from fmnist_jax.runner.experiment import Probes as Probes
from fmnist_jax.runner.experiment import Results as Results
