"""What is measured of one run beside its losses and accuracies."""
