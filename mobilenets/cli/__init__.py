"""The command line: one verb, one library function."""

from mobilenets.cli.app import main as main
