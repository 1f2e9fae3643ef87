"""Other devices than this machine: those that ssh reaches, and those whose results are imported."""
