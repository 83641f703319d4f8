"""The sections of a report: one module a question that a reader asks."""
