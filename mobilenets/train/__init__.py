"""Training: a frozen recipe, a Lightning module, and one function that can be killed."""

from mobilenets.train.recipe import Limits as Limits
from mobilenets.train.recipe import Recipe as Recipe
from mobilenets.train.recipes import RECIPES as RECIPES
from mobilenets.train.recipes import fine_tune as fine_tune
from mobilenets.train.recipes import from_scratch as from_scratch
from mobilenets.train.train import train as train
