"""Published weights: other libraries' parameter names to ours, one file per source; the words after
`--weights` to a checkpoint; our own on the Hub."""

from mobilenets.nn.pretrained.hub import pull as pull
from mobilenets.nn.pretrained.hub import push as push
from mobilenets.nn.pretrained.load import load_weights as load_weights
