"""What both engines agree on: bins, spacing, plans, results, and the switch."""
