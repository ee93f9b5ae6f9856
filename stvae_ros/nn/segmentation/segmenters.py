"""The semantic segmenters by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from stvae_ros.nn.paper.systems import SYSTEMS
from stvae_ros.nn.segmentation.interface import Segmenter
from stvae_ros.nn.segmentation.segnet import BASIC, VGG_16, SegNet
from stvae_ros.nn.segmentation.segnet_flow import SegNetFlow
from stvae_ros.nn.stvae_rt.network import REAL_TIME

CAMVID_CLASSES = 11


def segnet_flow(classes: int = CAMVID_CLASSES, base: str = "segnet", flow: str = "stvae-rt-s") -> SegNetFlow:
    """Build SegNet-flow.

    Args:
        classes: number of classes.
        base: segmenter of single frames, ``segnet`` or ``segnet-basic``.
        flow: name of the frame predictor that gives the flow.

    Raises:
        ValueError: a name is unknown.
    """
    networks = {**SYSTEMS, **REAL_TIME}
    for name, known in ((base, ("segnet", "segnet-basic")), (flow, networks)):
        if name not in known:
            raise ValueError(f"segnet-flow cannot be built on {name!r}; known names: {', '.join(known)}")
    return SegNetFlow(SEGMENTERS[base](classes=classes), networks[flow]())


SEGMENTERS: Mapping[str, Callable[..., Segmenter]] = {
    "segnet": partial(SegNet, classes=CAMVID_CLASSES, stages=VGG_16),
    "segnet-basic": partial(SegNet, classes=CAMVID_CLASSES, stages=BASIC, kernel_size=7, decoder_relu=False),
    "segnet-flow": segnet_flow,
}
