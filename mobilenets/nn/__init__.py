"""The network itself: modules built from an `Arch`, and checkpoints that carry theirs."""

from mobilenets.nn.checkpoint import Checkpoint as Checkpoint
from mobilenets.nn.deploy import Deployed as Deployed
from mobilenets.nn.deploy import Positional as Positional
from mobilenets.nn.model import MobileNet as MobileNet
from mobilenets.nn.weight_surgery import surgery as surgery
