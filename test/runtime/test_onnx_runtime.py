"""ONNX Runtime in place of PyTorch, in the predictor and in the node."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from robot import Robot

from stvae_ros.checkpoint import Checkpoint, find
from stvae_ros.cli.main import main
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.runtime.export import export_onnx
from stvae_ros.runtime.onnx_file import OnnxNetwork
from stvae_ros.streaming import Frame, StepResult, StreamingPredictor

pytestmark = pytest.mark.skipif(
    find_spec("onnx") is None or find_spec("onnxruntime") is None, reason="needs ONNX: pip install '.[onnx]'"
)

SIZE = (64, 48)
WEIGHTS = find("stvae-rt-s")
SCENES = {name: SyntheticScene(seed, *SIZE, max_speed=4.0) for seed, name in enumerate(("front", "rear"))}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """PyTorch and ONNX Runtime take turns; the threads of one would wait awake for the other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .onnx file."""
    path = tmp_path_factory.mktemp("exported") / "step.onnx"
    export_onnx(Checkpoint.open(WEIGHTS), path, SIZE)
    return path


def motions(predictor: StreamingPredictor) -> list[StepResult]:
    found: list[StepResult] = []
    for t in range(6):
        step = predictor.step({name: Frame(scene.frame(t), t * 40_000_000) for name, scene in SCENES.items()})
        found += [motion for motion in step.values() if motion is not None]
    return found


def test_it_predicts_what_pytorch_predicts(tmp_path: Path) -> None:
    said: list[str] = []
    options = {"device": "cpu", "precision": "fp32", "horizon": 2}
    expected = motions(StreamingPredictor.from_weights(WEIGHTS, SIZE, **options))
    for start in ("first", "second"):
        predictor = StreamingPredictor.from_weights(
            WEIGHTS, SIZE, backend="onnxruntime", cache_folder=tmp_path / "cache", log=said.append, **options
        )
        assert (predictor.backend, predictor.model) == ("onnxruntime, cpu", "stvae-rt-s")
        assert said == [] or start == "second", "nothing is exported before it is needed"
        for got, wanted in zip(motions(predictor), expected, strict=True):
            np.testing.assert_allclose(got.flow, wanted.flow, atol=1e-2)
            np.testing.assert_allclose(got.prediction.astype(int), wanted.prediction, atol=1)
    assert sum("exporting" in text for text in said) == 1, "once"
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".onnx"]


def test_errors_name_what_can_be_had(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, options, named in (
        (WEIGHTS, {"backend": "tensorflow"}, "'tensorflow' is not one: use torch or onnxruntime"),
        (WEIGHTS, {"backend": "onnxruntime", "onnx_provider": "npu"}, "'npu' is not one"),
        (WEIGHTS, {"backend": "onnxruntime", "onnx_provider": "cpu", "precision": "bf16"}, "no precision 'bf16'"),
        (WEIGHTS, {"backend": "onnxruntime", "device": "banana"}, "device 'banana' is not one"),
        (exported, {"device": "CPU"}, "device 'CPU' is not one: use auto, cpu or cuda:N"),
        (exported, {"device": "cuda:0", "onnx_provider": "cpu"}, "'cpu' does not run on device 'cuda:0'"),
        (exported, {"precision": "fp16"}, "the file is in fp32"),
        (exported, {"processing_size": (96, 64)}, "cannot take frames of 96x64"),
    ):
        with pytest.raises(ValueError, match=named):
            StreamingPredictor.from_weights(path, **options)  # type: ignore[arg-type]
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(ValueError, match="device 'cuda:0' is not there: this build of ONNX Runtime has cpu"):
            StreamingPredictor.from_weights(exported, device="cuda:0")
    if "TensorrtExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(ValueError, match="'tensorrt' is not in this build of ONNX Runtime"):
            StreamingPredictor.from_weights(exported, onnx_provider="tensorrt")
    (exported.parent / "file").touch()
    predictor = StreamingPredictor.from_weights(WEIGHTS, backend="onnxruntime", cache_folder=exported.parent / "file")
    with pytest.raises(OSError, match=f"cache_folder {exported.parent}/file cannot be written: "):
        predictor.warm_up()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match="pip install onnx onnxruntime"):
        OnnxNetwork(exported)
    with pytest.raises(ValueError, match="pip install onnx onnxruntime"):
        StreamingPredictor.from_weights(exported)


def test_the_node_runs_an_exported_network(exported: Path) -> None:
    with Robot() as robot:
        robot.start_perception(model=exported, backend="onnxruntime")
        robot.listen("perception/flow")
        robot.feed([SCENES["front"].frame(t) for t in range(4)], "perception/flow")
        values = robot.wait_for(lambda: robot.process()[1])
        assert values["backend"] == "onnxruntime, cpu" and values["model"] == "stvae-rt-s"
        assert values["weights"].startswith("step.onnx sha256:") and values["processing size"] == "64x48"


def test_every_way_is_compared(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    arguments = ["--model", "stvae-rt-s", "--size", "64", "48", "--device", "cpu", "--turns", "1"]
    assert main(["benchmark", "backends", *arguments, "--backends", "eager", "onnxruntime"]) == 0
    rows = {}
    for line in capsys.readouterr().out.splitlines():
        cells = [cell.strip() for cell in line.strip("│ ").split("│")]
        if len(cells) == 7:
            rows[cells[0]] = [float(cell) for cell in cells[1:]]
    assert {"eager, fp32", "ONNX Runtime CPU, fp32"} <= rows.keys()
    assert all(milliseconds > 0 for milliseconds, *_ in rows.values())
    assert rows["eager, fp32"][1:] == [1, 0, 0, 0, 0]
    assert 0 < rows["ONNX Runtime CPU, fp32"][2] < 1e-3


def test_a_benchmark_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "backends", "--turns", "0"]) == 2
    assert "--turns 0" in capsys.readouterr().err
