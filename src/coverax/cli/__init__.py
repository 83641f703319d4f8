"""The command line: one file a subcommand, one library call each."""

from coverax.cli.app import main as main
from coverax.exports import exported

__all__, __dir__ = exported(globals())
