"""The version, which every file says that this package writes."""

__version__ = "0.1.0"
