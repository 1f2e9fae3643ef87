"""How long networks take on this machine, measured in the runtime that will run them."""

from mobilenets.measuring.latency import NOISY_SPREAD, Latency, compare, measure

__all__ = ["NOISY_SPREAD", "Latency", "compare", "measure"]
