"""All networks by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from stvae_ros.nn.interface import FramePredictor
from stvae_ros.nn.paper.systems import SYSTEMS
from stvae_ros.nn.segmentation.interface import Segmenter
from stvae_ros.nn.segmentation.segmenters import SEGMENTERS
from stvae_ros.nn.stvae_rt.network import REAL_TIME

_Network = TypeVar("_Network", FramePredictor, Segmenter)

NETWORKS: Mapping[str, Callable[..., FramePredictor]] = {**SYSTEMS, **REAL_TIME}


def names() -> list[str]:
    """Names of all networks that predict frames, as `create` takes them."""
    return sorted(NETWORKS)


def segmenter_names() -> list[str]:
    """Names of all semantic segmenters, as `create_segmenter` takes them."""
    return sorted(SEGMENTERS)


def create(name: str, **options: Any) -> FramePredictor:
    """Create a network with random weights.

    Args:
        name: one of `names`.
        options: arguments of the network's constructor.

    Raises:
        ValueError: the name or an option is unknown.
    """
    return _create("network", NETWORKS, name, options)


def create_segmenter(name: str, **options: Any) -> Segmenter:
    """Create a semantic segmenter with random weights.

    Args:
        name: one of `segmenter_names`.
        options: arguments of the segmenter's constructor.

    Raises:
        ValueError: the name or an option is unknown.
    """
    return _create("segmenter", SEGMENTERS, name, options)


def _create(kind: str, known: Mapping[str, Callable[..., _Network]], name: str, options: Mapping[str, Any]) -> _Network:
    if name not in known:
        raise ValueError(f"no {kind} is called {name!r}; known names: {', '.join(sorted(known))}")
    parameters = inspect.signature(known[name]).parameters
    unknown = sorted(options.keys() - parameters.keys())
    if unknown:
        raise ValueError(f"{name} has no option {', '.join(unknown)}; its options: {', '.join(parameters)}")
    return known[name](**options)
