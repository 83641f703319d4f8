"""The command line: one file a subcommand, one library call each."""

from coverax.cli.app import main as main
