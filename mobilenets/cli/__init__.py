"""The command line: one verb, one library function."""

from mobilenets.cli.main import main as main
