"""Guarantees from five folds of a small net on a real cohort, beside those of a split."""
