"""Published weights: other libraries' parameter names to ours, one file per source."""
