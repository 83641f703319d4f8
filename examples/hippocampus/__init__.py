"""Train with calibration losses, infer, certify: the whole flow on a real cohort."""
