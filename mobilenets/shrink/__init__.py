"""Making a trained network smaller on purpose: one cut at a time, where it costs least."""

from mobilenets.shrink.netadapt import netadapt as netadapt
from mobilenets.shrink.pool import Workers as Workers
from mobilenets.shrink.prices import Price as Price
from mobilenets.shrink.prices import arithmetic_price as arithmetic_price
from mobilenets.shrink.prices import latency_price as latency_price
from mobilenets.shrink.settings import Settings as Settings
from mobilenets.shrink.step import Step as Step
