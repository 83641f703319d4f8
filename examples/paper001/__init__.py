"""Tables and figures of paper 001 on simulated maps."""
