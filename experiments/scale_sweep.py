"""What does dividing the pixels by a number do to training?

    python -m experiments.scale_sweep --divisors=1,255,1000

18 runs of --preset=keras (784-128-10): under a minute on two cores.
"""

from fmnist_jax.runner import Experiment, main

EXPERIMENT = Experiment(
    name="scale_sweep",
    question="What does dividing the pixels by a number do to training?",
    axes={"divisor": (1.0, 255.0, 1000.0), "loss": ("clipped", "softmax")},
    curves_by="divisor",
    final_by="divisor",
)

if __name__ == "__main__":
    main(EXPERIMENT)
