"""The demonstration on real lung nodules that ships with the package."""

from coverax.demo.run import DemoResult as DemoResult
from coverax.demo.run import run_demo as run_demo
from coverax.exports import exported

__all__, __dir__ = exported(globals())
