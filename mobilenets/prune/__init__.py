"""Making a trained network smaller on purpose: one cut at a time, where it costs least."""

from mobilenets.prune.algorithm import netadapt as netadapt
from mobilenets.prune.prices import Price as Price
from mobilenets.prune.prices import arithmetic_price as arithmetic_price
from mobilenets.prune.prices import latency_price as latency_price
from mobilenets.prune.settings import Settings as Settings
from mobilenets.prune.step import Step as Step
from mobilenets.prune.workers import Workers as Workers
