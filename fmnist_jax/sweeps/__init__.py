"""Many runs: a plan, its compiled programs, and labelled results."""
