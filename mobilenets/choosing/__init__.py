"""Which network: candidates, priors, the latency table, successive halving."""
