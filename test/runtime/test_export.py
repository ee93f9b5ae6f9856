"""An exported step does what the network does, says what it is, and is there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from stvae_ros import zoo
from stvae_ros.checkpoint import Checkpoint, find, save
from stvae_ros.cli.main import main
from stvae_ros.runtime import export_check as check
from stvae_ros.runtime.export import export_onnx
from stvae_ros.runtime.export_check import ExportError, difference, moving_frames
from stvae_ros.runtime.exported_step import Step
from stvae_ros.runtime.onnx_file import OnnxNetwork

pytestmark = pytest.mark.skipif(
    find_spec("onnx") is None or find_spec("onnxruntime") is None, reason="needs ONNX: pip install '.[onnx]'"
)

SHIPPED = ("ae-convlstm-flow", "stvae-rt-s", "stvae-rt-m", "stvae-rt-l")
# Networks with flow, and what makes those small that are for frames of one size.
SMALL = {"fc-2enc-1lstm": {"memory": (32, 256)}, "fc-2enc-2lstm": {"memory": (32, 256, 256)}}
WITH_FLOW = [*SHIPPED, "conv-1enc-1lstm", "conv-1enc-2lstm", "conv-2enc-1lstm", "conv-2enc-2lstm", *SMALL]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """PyTorch and ONNX Runtime take turns; the threads of one would wait awake for the other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weights_of(name: str, folder: Path) -> Path:
    if name in SHIPPED:
        return find(name)
    torch.manual_seed(0)
    options = SMALL.get(name, {})
    network = zoo.create(name, **options)
    for parameter in network.parameters():
        if parameter.ndim == 4 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.03)
    path = folder / f"{name}.safetensors"
    save(path, network, name, options)
    return path


def test_every_network_with_flow_is_here() -> None:
    flows = set()
    for name in zoo.names():
        network = zoo.create(name, **SMALL.get(name, {}))
        if "flow" in Step(network).output_names:
            flows.add(name)
    assert flows == set(WITH_FLOW)


@pytest.mark.parametrize("name", WITH_FLOW)
def test_fifty_frames_agree(name: str, tmp_path: Path) -> None:
    weights = weights_of(name, tmp_path)
    height, width = zoo.load(weights).frame_size or ((48, 64) if name.startswith("stvae") else (32, 32))
    found = export_onnx(Checkpoint.open(weights), tmp_path / "step.onnx", (width, height))
    assert check.FRAMES == 50
    assert 0 < found.frame < 1e-3 and found.flow < 1e-2
    network = OnnxNetwork(tmp_path / "step.onnx")
    assert network.frame_size == (height, width)
    assert network.metadata["architecture"] == name and json.loads(network.metadata["size"]) == [width, height]


def test_any_size_and_batch_in_half_precision(tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "step.onnx"
    weights = find("stvae-rt-s")
    found = export_onnx(Checkpoint.open(weights), path, None, "fp16", opset=18, check_size=(64, 48))
    assert 1e-6 < found.mean_frame < 1e-3 and found.mean_flow < 1e-2, "fp16 rounds, and not much"
    model = onnx.load(path)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 18)]
    names = [value.name for value in model.graph.input]
    assert names == ["frame", *(f"state_{index}" for index in range(len(names) - 1))]
    assert [value.name for value in model.graph.output][:4] == ["prediction", "flow", "observed_flow", "confidence"]
    halves = {value.name for value in model.graph.initializer if value.data_type == onnx.TensorProto.FLOAT16}
    assert halves, "weights are in half precision"
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.value_info}
    grids = [node.input[1] for node in inferred.node if node.op_type == "GridSample"]
    assert grids and all(types[grid] == onnx.TensorProto.FLOAT for grid in grids), "sampling is not"

    network, exported = zoo.load(weights), OnnxNetwork(path)
    one, two = (torch.cat(moving_frames(3, 96, 64)[start : start + 3]) for start in (0, 10))
    batch = torch.stack([one, two])
    with torch.inference_mode():
        for got, expected in zip(exported(batch)[0], network(batch)[0], strict=True):
            torch.testing.assert_close(got.frame, expected.frame, rtol=0, atol=1e-2)
            torch.testing.assert_close(got.flow, expected.flow, rtol=0, atol=1e-1)


def test_what_does_not_agree_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(check.TOLERANCES, "fp32", (0.0, 0.0))
    with pytest.raises(ExportError, match=r"differs: frame .* flow .* px"):
        export_onnx(Checkpoint.open(find("ae-convlstm-flow")), tmp_path / "step.onnx", (32, 32))
    assert list(tmp_path.iterdir()) == []


def test_a_difference_is_found() -> None:
    one, other = (zoo.load(find("stvae-rt-s")) for _ in range(2))
    frames = moving_frames(3, 64, 48)[:5]
    assert difference(one, other, frames) == check.Difference(0, 0, 0, 0)
    with torch.no_grad():
        next(other.parameters()).mul_(0.9)
    with pytest.raises(ExportError):
        difference(one, other, frames).check("fp16")


def test_the_command_says_how_far_it_is_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "step.onnx"
    weights = weights_of("conv-2enc-1lstm", tmp_path)
    assert main(["export", str(weights), "--output", str(path), "--size", "64", "48"]) == 0
    text = capsys.readouterr().out
    assert "50 frames of 64x48 agree with PyTorch" in text and "allowed in fp32: frame 0.001, flow 0.01 px" in text
    assert [file.name for file in path.parent.iterdir()] == ["step.onnx"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nonsense"], "nonsense"),
        (["stvae-rt-s", "--size", "65", "48"], "65x48"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    arguments: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", *arguments, "--output", str(tmp_path / "step.onnx")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("stvae export: ") and named in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_the_file_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "stvae-rt-s", "--output", str(tmp_path / "step.pt2")]) == 2
    assert ".onnx" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_another_onnx_file_is_refused(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "other", values[:1], values[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "other.onnx")
    with pytest.raises(ValueError, match=r"other\.onnx: not a step of this package"):
        OnnxNetwork(tmp_path / "other.onnx")
    (tmp_path / "cut.onnx").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"cut\.onnx: ONNX Runtime cannot run it"):
        OnnxNetwork(tmp_path / "cut.onnx")
