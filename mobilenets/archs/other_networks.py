"""Well-known networks that are no MobileNets: what to say to who asks for one, and what to take."""

from __future__ import annotations

import re

_LARGE = "mobilenet_v4_conv_medium"
_DETECTOR = (
    "mobilenet_v3_large with a detection head, of which only the cost can be told: "
    "mobilenets cost mobilenet_v3_large --head ssdlite"
)
_SEGMENTER = (
    "mobilenet_v3_large with a segmentation head, of which only the cost can be told: "
    "mobilenets cost mobilenet_v3_large --head lraspp"
)

# What a name begins with, and the network to take. The first that matches counts.
_FAMILIES = (
    (r"efficientnet_?b?4", "efficientnet_lite4"),
    (r"efficientnet_?b?3", "efficientnet_lite3"),
    (r"efficientnet_?b?2", "efficientnet_lite2"),
    (r"efficientnet_?b?1", "efficientnet_lite1"),
    (r"efficientnet_?b?[5-9]|efficientnet_?v2|efficientnet_(e|c)", _LARGE),
    (r"efficientnet", "efficientnet_lite0"),
    (r"(resnet|resnext)_?(10|14|18|26)|resnet_?8", "mobilenet_v3_large"),
    (r"(wide_|se|res|ec)*(resnet|resnext|resnest|res2net)|resnetv2|regnet|dla\d|hrnet", _LARGE),
    (r"densenet|vgg|inception|googlenet|xception|nasnet|nfnet|repvgg|dpn|cspnet|rexnet", _LARGE),
    (r"convnext|vit|deit|beit|eva\d|swin|maxvit|coatnet|cait|xcit|mixer|clip|dino|davit", _LARGE),
    (r"edgenext|fastvit|efficientformer|efficientvit|levit|tiny_?vit|poolformer", _LARGE),
    (r"alexnet|squeezenet|shufflenet|lcnet|tinynet|mobilenet_?edgetpu", "mobilenet_v3_small"),
    (r"mnasnet|ghostnet|fbnet|mobilevit|mobileone|spnasnet|mcunet", "mobilenet_v3_large"),
    (r"yolo|ssd|retinanet|faster_?rcnn|mask_?rcnn|fcos|detr|centernet", _DETECTOR),
    (r"unet|deeplab|fcn|segformer|lraspp|pspnet", _SEGMENTER),
)


def foreign(word: str) -> str | None:
    """What to take in the place of a network that is not here, and what to type; `word` is its name
    in small letters. None for a name that is not known."""
    word = re.sub(r"^(tf|legacy|gluon|ssl|swsl|keras)_", "", word)
    for pattern, instead in _FAMILIES:
        if re.match(pattern, word):
            return instead if " " in instead else f"{instead}: mobilenets cost {instead}"
    return None
