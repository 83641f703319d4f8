"""Figures and reports; needs the extra `report`."""
