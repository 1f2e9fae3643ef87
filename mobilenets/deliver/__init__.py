"""Delivery: use an artifact, verify it, report on the run."""

from mobilenets.deliver.predictor import Prediction as Prediction
from mobilenets.deliver.predictor import Predictor as Predictor
from mobilenets.deliver.predictor import load as load
from mobilenets.deliver.verdict import Verdict as Verdict
from mobilenets.deliver.verdict import verify as verify
