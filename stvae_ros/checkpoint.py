"""Checkpoints: the weights of a network, with its name and options in the header of a safetensors file.

A checkpoint is opened once and passed on as a `Checkpoint`. Nothing is unpickled, and no memory is taken for tensors
before the header has been checked.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import Tensor, nn

from stvae_ros.files import LFS_POINTER, replaced
from stvae_ros.nn.interface import FramePredictor
from stvae_ros.nn.registry import NETWORKS, create, create_segmenter, names, segmenter_names
from stvae_ros.nn.segmentation.interface import Segmenter
from stvae_ros.resources import share_directory

FORMAT = "stvae_ros 1"
"""Value of the metadata entry "format" in each checkpoint of this package."""

_MAX_HEADER = 4 * 2**20
"""Largest header that is read, in bytes."""
_MAX_OPTION, _MAX_ITEMS = 65_536, 64
"""Largest number in the options, and longest list. No network of this package has larger ones."""
_SIDES = range(16, 4097)
"""Width and height of a processing size, in pixels."""

_Network = TypeVar("_Network", FramePredictor, Segmenter)


class CheckpointError(ValueError):
    """A checkpoint that cannot be used. The message names the file, the problem and the remedy."""


class Checkpoint:
    """A checkpoint whose header has been read and checked.

    Attributes:
        path: the file.
        metadata: the entries of the header: format, architecture, options, input, recipe, figures and others.
        architecture: name of the network, one of `registry.names` or `registry.segmenter_names`.
    """

    def __init__(self, path: Path, metadata: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.path, self.metadata = path, metadata
        self.architecture = metadata["architecture"]
        self._shapes = shapes
        self._hash: str | None = None

    @classmethod
    def open(cls, path: str | Path) -> Checkpoint:
        """Read and check the header of a file.

        Raises:
            CheckpointError: the file is missing, damaged, or not a checkpoint of this package.
        """
        path = Path(path)
        metadata, shapes = _read_header(path)
        if metadata.get("format") != FORMAT:
            raise CheckpointError(
                f"{path}: not a checkpoint of this package (format {metadata.get('format', '')[:80]!r}, expected "
                f"{FORMAT!r}); make checkpoints with 'stvae train'"
            )
        known = [*names(), *segmenter_names()]
        if metadata.get("architecture") not in known:
            raise CheckpointError(
                f"{path}: its network {metadata.get('architecture', '')[:80]!r} is unknown here; "
                f"known names: {', '.join(known)}"
            )
        return cls(path, metadata, shapes)

    @property
    def hash(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the file. It tells checkpoints apart."""
        if self._hash is None:
            self._content()
        assert self._hash is not None
        return self._hash

    @property
    def description(self) -> str:
        """Name and hash of the file, for logs and for the metadata of what is made of it."""
        return f"{self.path.name} sha256:{self.hash}"

    @property
    def sees_events(self) -> bool:
        """Whether the input of the network is images of events instead of camera frames."""
        return "event_image" in self.metadata

    @cached_property
    def processing_size(self) -> tuple[int, int]:
        """Width and height in pixels for which the network was trained; 320x240 if the header does not say.

        Raises:
            CheckpointError: the entry is not a pair of numbers from 16 to 4096.
        """
        text = self.metadata.get("processing_size", "[320, 240]")
        try:
            width, height = json.loads(text)
        except (ValueError, TypeError, RecursionError):
            width = height = None
        if not all(type(side) is int and side in _SIDES for side in (width, height)):
            raise CheckpointError(
                f"{self.path}: its processing_size {text[:80]!r} is not [width, height], each from {_SIDES[0]} to "
                f"{_SIDES[-1]}"
            )
        return width, height

    def network(self) -> FramePredictor:
        """Build the network that predicts frames, on the CPU, in evaluation mode.

        Raises:
            CheckpointError: the checkpoint is one of a segmenter, or its options or tensors do not fit.
        """
        if self.architecture not in NETWORKS:
            raise CheckpointError(f"{self.path}: {self.architecture!r} is a segmenter: give it as segmenter")
        return self._build(create)

    def segmenter(self) -> Segmenter:
        """Build the semantic segmenter, on the CPU, in evaluation mode.

        Raises:
            CheckpointError: the checkpoint is not one of a segmenter, or its options or tensors do not fit.
        """
        if self.architecture in NETWORKS:
            raise CheckpointError(f"{self.path}: {self.architecture!r} is not a segmenter: give it as model")
        return self._build(create_segmenter)

    def fill(self, network: nn.Module, part: bool = False) -> None:
        """Load the weights into a network.

        Args:
            network: receives the weights. Its architecture is that of the checkpoint.
            part: the network may have more parameters than the checkpoint; these keep their values. If the number of
                input channels differs, the layers at both ends keep their values, too.

        Raises:
            CheckpointError: the tensors do not fit.
        """
        own = network.state_dict()
        try:
            tensors = self._tensors()
            if part and create(self.architecture, **self._options()).in_channels != network.in_channels:
                tensors = {k: value for k, value in tensors.items() if k not in own or value.shape == own[k].shape}
            network.load_state_dict(own | tensors if part else tensors)
        except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
            raise self._misfit(str(error)) from error

    def _build(self, make: Callable[..., _Network]) -> _Network:
        try:
            options = self._options()
            with torch.device("meta"):  # Takes no memory. The options of a foreign file may ask for any amount.
                wanted = {name: tuple(v.shape) for name, v in make(self.architecture, **options).state_dict().items()}
        except (ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(
                f"{self.path}: its options do not suit {self.architecture!r} ({error}); export the checkpoint again"
            ) from error
        wrong = sorted(k for k in wanted.keys() | self._shapes.keys() if wanted.get(k) != self._shapes.get(k))
        if wrong:
            found, expected = self._shapes.get(wrong[0], "missing"), wanted.get(wrong[0], "none")
            raise self._misfit(f"{len(wrong)} tensors; {wrong[0][:80]} is {str(found)[:80]}, expected {expected}")
        network = make(self.architecture, **options)
        self.fill(network)
        return network.eval()

    def _options(self) -> dict[str, Any]:
        """The options of the network. Raises ValueError for anything but a few moderate numbers, words and lists."""
        options = json.loads(self.metadata.get("options", "{}"))
        if not isinstance(options, dict):
            raise ValueError("they are not options by name")
        for name, value in options.items():
            items = value if isinstance(value, list) else [value]
            small = (isinstance(item, (str, type(None))) or -_MAX_OPTION <= item <= _MAX_OPTION for item in items)
            if len(items) > _MAX_ITEMS or not all(small):
                raise ValueError(f"{name[:80]} is too large")
        return options

    def _tensors(self) -> dict[str, Tensor]:
        return load_tensors(self._content())

    def _content(self) -> bytes:
        content = self.path.read_bytes()
        self._hash = _hash(content)
        return content

    def _misfit(self, reason: str) -> CheckpointError:
        return CheckpointError(
            f"{self.path}: its tensors, of {self.architecture!r}, do not fit the network ({reason}); "
            "export the checkpoint again"
        )


def find(model: str) -> Path:
    """Find the file of a model.

    Args:
        model: the path of a .safetensors or .onnx file, or the name of a shipped checkpoint.

    Raises:
        CheckpointError: there is no such file.
    """
    is_path = model.endswith((".safetensors", ".onnx"))
    if not is_path and (os.sep in model or model.startswith(".")):
        raise CheckpointError(f"{model!r} is neither a name nor the path of a .safetensors file")
    path = Path(model).expanduser() if is_path else share_directory() / "models" / f"{model}.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint for model {model!r}: {path} does not exist; give the path of a .safetensors file or the "
            f"name of a shipped checkpoint ({', '.join(shipped_names()) or 'none'})"
        )
    return path


def open_model(model: str) -> Checkpoint | Path:
    """Find a model and open it, if it is a checkpoint.

    Args:
        model: see `find`.

    Returns:
        The checkpoint, or the path of the .onnx file.

    Raises:
        CheckpointError: there is no such file, or it is not a checkpoint.
    """
    path = find(model)
    return path if path.suffix == ".onnx" else Checkpoint.open(path)


def open_frame_model(model: str) -> Checkpoint | Path:
    """Do as `open_model` does, for a model whose input is camera frames.

    Raises:
        CheckpointError: as `open_model`, and for a checkpoint whose network sees events.
    """
    found = open_model(model)
    if isinstance(found, Checkpoint) and found.sees_events:
        raise CheckpointError(f"{found.path}: this network sees events, not camera frames: use 'stvae evaluate events'")
    return found


def model_hash(model: Checkpoint | Path) -> str:
    """First 12 hexadecimal digits of the SHA-256 of a model that `open_model` gave."""
    return model.hash if isinstance(model, Checkpoint) else _hash(model.read_bytes())


def shipped_names() -> list[str]:
    """Names of the checkpoints that come with the package."""
    return sorted(path.stem for path in (share_directory() / "models").glob("*.safetensors"))


def save(
    path: str | Path,
    network: FramePredictor | Segmenter,
    name: str,
    options: Mapping[str, Any] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: the file to write.
        network: its weights are saved.
        name: of its architecture.
        options: with which the network was created.
        metadata: more entries of the header. The entry "input" describes the input; by default it is a camera's frame.

    Raises:
        ValueError: the name is unknown.
    """
    known = [*names(), *segmenter_names()]
    if name not in known:
        raise ValueError(f"no network is called {name!r}; known names: {', '.join(known)}")
    header = {
        "input": f"{'grey' if network.in_channels == 1 else 'RGB'}, {network.in_channels} channels, range [0, 1]",
        **(metadata or {}),
        "format": FORMAT,
        "architecture": name,
        "options": json.dumps(dict(options or {}), sort_keys=True),
    }
    with replaced(Path(path)) as file:
        save_file({key: value.cpu().contiguous() for key, value in network.state_dict().items()}, file, header)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _read_header(path: Path) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """Metadata, and the shape of each tensor by name. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    with path.open("rb") as file:
        begin = file.read(len(LFS_POINTER))
        size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(begin[:8], "little")
    if begin == LFS_POINTER:
        raise CheckpointError(f"{path}: it is a pointer of Git LFS, not the weights: run `git lfs pull`")
    try:
        if _MAX_HEADER < length <= size:
            raise ValueError(f"a header of {length} bytes; at most {_MAX_HEADER} are read")
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            return dict(file.metadata() or {}), shapes
    except (SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({str(error)[:200]}); it may be truncated: copy or "
            "export it again"
        ) from error
