"""Training: a frozen recipe, a Lightning module, and one function that can be killed."""

from mobilenets.train.distill import Teacher as Teacher
from mobilenets.train.group import led as led
from mobilenets.train.job import How as How
from mobilenets.train.recipe import Decay as Decay
from mobilenets.train.recipe import Distill as Distill
from mobilenets.train.recipe import Limits as Limits
from mobilenets.train.recipe import Recipe as Recipe
from mobilenets.train.recipe import RMSprop as RMSprop
from mobilenets.train.recipes import RECIPES as RECIPES
from mobilenets.train.recipes import fine_tune as fine_tune
from mobilenets.train.recipes import from_scratch as from_scratch
from mobilenets.train.recipes import get_recipe as get_recipe
from mobilenets.train.recipes import recipe_without_weights as recipe_without_weights
from mobilenets.train.start import starting_point as starting_point
from mobilenets.train.trainer import train as train
