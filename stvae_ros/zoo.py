"""The networks by name, and their weights as safetensors with metadata."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from stvae_ros.files import replaced
from stvae_ros.nn.interface import FramePredictor
from stvae_ros.nn.paper.systems import SYSTEMS
from stvae_ros.nn.segmentation.interface import Segmenter
from stvae_ros.nn.segmentation.segmenters import SEGMENTERS
from stvae_ros.nn.stvae_rt.network import REAL_TIME
from stvae_ros.resources import share_directory
from stvae_ros.weights_header import Header, WeightsError, read_header

__all__ = [
    "FORMAT",
    "WeightsError",
    "create",
    "create_segmenter",
    "file_hash",
    "find",
    "load",
    "load_into",
    "load_segmenter",
    "names",
    "processing_size",
    "read_metadata",
    "save",
    "segmenter_names",
]

FORMAT = "stvae_ros 1"

_MAX_OPTION, _MAX_ITEMS = 65_536, 64
"""Beyond what any network is made with; a file that asks for more is not one of ours."""

_NETWORKS: dict[str, Callable[..., FramePredictor]] = {**SYSTEMS, **REAL_TIME}
_Network = TypeVar("_Network", FramePredictor, Segmenter)
_ALL = sorted({*_NETWORKS, *SEGMENTERS})


def names() -> list[str]:
    """Names of all networks, as `create` takes them."""
    return sorted(_NETWORKS)


def segmenter_names() -> list[str]:
    """Names of all semantic segmenters, as `create_segmenter` takes them."""
    return sorted(SEGMENTERS)


def create(name: str, **options: Any) -> FramePredictor:
    """A network with fresh random weights. Raises ValueError for an unknown name or option."""
    return _build("network", _NETWORKS, name, options)


def create_segmenter(name: str, **options: Any) -> Segmenter:
    """A semantic segmenter with fresh random weights. Raises ValueError for an unknown name or option."""
    return _build("segmenter", SEGMENTERS, name, options)


def _build(kind: str, known: Mapping[str, Callable[..., _Network]], name: str, options: Mapping[str, Any]) -> _Network:
    if name not in known:
        raise ValueError(f"no {kind} is called {name!r}; there are: {', '.join(sorted(known))}")
    parameters = inspect.signature(known[name]).parameters
    unknown = sorted(options.keys() - parameters.keys())
    if unknown:
        raise ValueError(f"{name} has no option {', '.join(unknown)}; it has: {', '.join(parameters)}")
    return known[name](**options)


def find(model: str) -> Path:
    """Path of the weights that ``model`` means: a path to a .safetensors file, or the name of shipped weights.

    The path of an .onnx file, which `streaming` runs, is good too.

    Raises WeightsError if there is no such file.
    """
    folder = share_directory() / "models"
    is_path = model.endswith((".safetensors", ".onnx"))
    if not is_path and (os.sep in model or model.startswith(".")):
        raise WeightsError(f"{model!r} is neither a name nor the path of a .safetensors file")
    path = Path(model).expanduser() if is_path else folder / f"{model}.safetensors"
    if not path.is_file():
        shipped = ", ".join(shipped_names()) or "none"
        raise WeightsError(
            f"no weights for model {model!r}: {path} does not exist; "
            f"give the path of a .safetensors file or the name of shipped weights ({shipped})"
        )
    return path


def find_for_frames(model: str) -> Path:
    """As `find`, for weights that see the frames of a camera. Raises WeightsError for those that see events, too."""
    path = find(model)
    if path.suffix == ".safetensors" and "event_image" in read_metadata(path):
        raise WeightsError(f"{path}: this network sees events, not the frames of a camera: use 'stvae evaluate events'")
    return path


def shipped_names() -> list[str]:
    """Names of the weights that come with the package, as `find` takes them."""
    return sorted(path.stem for path in (share_directory() / "models").glob("*.safetensors"))


def save(
    path: str | Path,
    network: FramePredictor | Segmenter,
    name: str,
    options: Mapping[str, Any] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write weights, whole or not at all, with the architecture, its input and ``metadata`` in the header.

    The input is a camera's frame unless ``metadata`` says otherwise under ``input``. Raises ValueError for an unknown
    name.
    """
    if name not in _ALL:
        raise ValueError(f"no network is called {name!r}; there are: {', '.join(_ALL)}")
    header = {
        "input": f"{'grey' if network.in_channels == 1 else 'RGB'}, {network.in_channels} channels, range [0, 1]",
        **(metadata or {}),
        "format": FORMAT,
        "architecture": name,
        "options": json.dumps(dict(options or {}), sort_keys=True),
    }
    with replaced(Path(path)) as file:
        save_file({key: value.cpu().contiguous() for key, value in network.state_dict().items()}, file, header)


def read_metadata(path: str | Path) -> dict[str, str]:
    """The header of a weights file. Raises WeightsError if it is not one of ours."""
    return _checked(path, read_header(path).metadata)


def _checked(path: str | Path, metadata: dict[str, str]) -> dict[str, str]:
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{path}: not weights of this package (its format is {metadata.get('format', '')[:80]!r}, not {FORMAT!r}); "
            "export weights with 'stvae train'"
        )
    if metadata.get("architecture") not in _ALL:
        raise WeightsError(
            f"{path}: its network {metadata.get('architecture', '')[:80]!r} is not known here; "
            f"there are: {', '.join(_ALL)}"
        )
    return metadata


def processing_size(path: str | Path) -> tuple[int, int]:
    """Width and height in pixels that the weights of a file are made for, 320x240 if it does not say.

    Raises WeightsError.
    """
    text = read_metadata(path).get("processing_size", "[320, 240]")
    try:
        width, height = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        width = height = None
    if not all(type(side) is int and 16 <= side <= 4096 for side in (width, height)):
        raise WeightsError(f"{path}: its processing_size {text[:80]!r} is not [width, height], each from 16 to 4096")
    return width, height


def load(path: str | Path, device: str | torch.device = "cpu") -> FramePredictor:
    """The network of a weights file, in evaluation mode, on ``device``. Raises WeightsError."""
    return _load(path, create, _NETWORKS, "a segmenter: give it as segmenter, not as model").to(device)


def load_segmenter(path: str | Path, device: str | torch.device = "cpu") -> Segmenter:
    """The segmenter of a weights file, in evaluation mode, on ``device``. Raises WeightsError."""
    return _load(path, create_segmenter, SEGMENTERS, "no segmenter: give it as model, not as segmenter").to(device)


def _load(path: str | Path, build: Callable[..., _Network], known: Container[str], otherwise: str) -> _Network:
    header = read_header(path)
    metadata = _checked(path, header.metadata)
    name = metadata["architecture"]
    if name not in known:
        raise WeightsError(f"{path}: {name!r} is {otherwise}")
    try:
        options = json.loads(metadata.get("options", "{}"))
        _check_options(options)
        with torch.device("meta"):  # Without memory: options can ask for any amount.
            like = build(name, **options)
    except (ValueError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path}: its options do not suit {name!r} ({error}); export the weights again") from error
    _check_shapes(path, name, like, header)
    network = build(name, **options)
    load_into(network, path)
    return network.eval()


def _check_options(options: Any) -> None:
    """Raise ValueError for options that are not a few moderate numbers, words and lists of them by name."""
    if not isinstance(options, dict):
        raise ValueError("they are not options by name")
    for name, value in options.items():
        items = value if isinstance(value, list) else [value]
        small = (isinstance(item, (str, type(None))) or -_MAX_OPTION <= item <= _MAX_OPTION for item in items)
        if len(items) > _MAX_ITEMS or not all(small):
            raise ValueError(f"{name[:80]} is too large")


def _check_shapes(path: str | Path, architecture: str, network: nn.Module, header: Header) -> None:
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    wrong = sorted(name for name in wanted.keys() | header.shapes.keys() if wanted.get(name) != header.shapes.get(name))
    if wrong:
        first = wrong[0]
        raise WeightsError(
            f"{path}: its tensors, of {architecture!r}, do not fit the network ({len(wrong)} of them; {first[:80]} is "
            f"{header.shapes.get(first, 'missing')}, and the network wants {wanted.get(first, 'none')}); "
            "export the weights again"
        )


def load_into(network: nn.Module, path: str | Path, part: bool = False) -> None:
    """Fill a network of the same architecture with the weights of a file.

    part: the file's network may be a part of this one, the rest of which stays as it is; and it may be for an input of
    other channels, then the layers at both ends stay as they are. Raises WeightsError.
    """
    metadata = read_metadata(path)
    architecture, own = metadata["architecture"], network.state_dict()
    try:
        tensors = load_file(path)
        if part and create(architecture, **json.loads(metadata["options"])).in_channels != network.in_channels:
            tensors = {key: value for key, value in tensors.items() if key not in own or value.shape == own[key].shape}
        network.load_state_dict(own | tensors if part else tensors)
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: its tensors, of {architecture!r}, do not fit the network ({error}); export the weights again"
        ) from error


def file_hash(path: str | Path) -> str:
    """First 12 hexadecimal digits of the SHA-256 of a file, to tell weights apart."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()[:12]
