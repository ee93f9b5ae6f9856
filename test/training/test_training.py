"""Losses, schedule, data modules, and whole trainings: deterministic, resumable, exported."""

import math
import signal
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from checkout import ROOT
from safetensors.torch import load_file

from stvae_ros import zoo
from stvae_ros.checkpoint import Checkpoint, CheckpointError, save
from stvae_ros.data.media import MediaError
from stvae_ros.nn.interface import Prediction
from stvae_ros.nn.registry import segmenter_names
from stvae_ros.training.losses import LossWeights, charbonnier, sequence_losses

# Not importorskip: pytest's launch plugin imports every module and would skip the whole folder.
needs_lightning = pytest.mark.skipif(find_spec("lightning") is None, reason="needs Lightning: pip install '.[train]'")
CONFIGS = ROOT / "config" / "train"
CHANGES = ("stvae-rt-gpu", "four-processes", "segnet-alone")
"""Add-ons, given after a recipe."""
RECIPES = sorted(path for path in CONFIGS.glob("*.yaml") if path.stem not in CHANGES)


def test_loss_terms_by_hand() -> None:
    frames = torch.zeros(1, 3, 1, 4, 4)
    frames[:, 2] = 0.5
    flow = torch.zeros(1, 2, 2, 4, 4)
    known = torch.ones(1, 2, 4, 4, dtype=torch.bool)
    prediction = Prediction(torch.zeros(1, 1, 4, 4), torch.full((1, 2, 4, 4), 3.0))
    weights = LossWeights(frame=1.0, gradient=1.0, warped=1.0, flow=1.0)
    losses = sequence_losses([prediction, prediction], frames, flow, known, weights)
    assert losses["frame"].item() == pytest.approx(0.25), "0 in the first step, 0.5 squared in the second"
    assert losses["gradient"].item() == pytest.approx(0.0)
    assert losses["warped"].item() == pytest.approx(math.hypot(0.5, 0.01) - 0.01, rel=1e-4)
    assert losses["flow"].item() == pytest.approx(2 * (math.sqrt(18 + 0.05**2) - 0.05), rel=1e-4)
    assert sequence_losses([prediction, prediction], frames, flow, ~known, weights)["flow"].item() == 0
    skipped = sequence_losses([prediction, prediction], frames, flow, known, LossWeights(skip=1))
    assert skipped["frame"].item() == pytest.approx(0.25) and set(skipped) == {"frame"}


def test_losses_without_flow_or_frames_are_refused() -> None:
    frames, flow, known = torch.zeros(1, 2, 1, 4, 4), torch.zeros(1, 1, 2, 4, 4), torch.zeros(1, 1, 4, 4)
    without_flow = Prediction(torch.zeros(1, 1, 4, 4), None)
    with pytest.raises(ValueError, match="predicts flow"):
        sequence_losses([without_flow], frames, flow, known, LossWeights(warped=1.0))
    with pytest.raises(ValueError, match="skip = 1"):
        sequence_losses([without_flow], frames, flow, known, LossWeights(skip=1))


@needs_lightning
def test_missing_clips_are_named(tmp_path: Path) -> None:
    from stvae_ros.training.data import SequenceData

    with pytest.raises(MediaError, match=r"absent\.mp4.*data\.root"):
        SequenceData(clips=["absent.mp4"], root=str(tmp_path)).setup("fit")


def config(folder: Path, epochs: int) -> list[str]:
    """The recipe of ae-convlstm-flow at toy size, without clips, with all files in ``folder``."""
    recipe = yaml.safe_load(RECIPES[0].read_text())
    recipe["data"]["init_args"] = {
        "clips": [], "size": 16, "length": 3, "batch_size": 2, "steps_per_epoch": 2, "validation_count": 2,
        "num_workers": 0,
    }  # fmt: skip
    recipe["model"]["burn_in"] = 1
    recipe["trainer"] |= {
        "max_epochs": epochs, "precision": "32-true", "default_root_dir": str(folder), "check_val_every_n_epoch": 1,
        "accelerator": "cpu", "log_every_n_steps": 1,
    }  # fmt: skip
    recipe["trainer"]["logger"]["init_args"]["save_dir"] = str(folder)
    for callback in recipe["trainer"]["callbacks"]:
        arguments = callback.get("init_args", {})
        if "dirpath" in arguments:
            callback["init_args"] = {
                "dirpath": str(folder / "checkpoints"),
                "every_n_train_steps": 1,
                "save_last": True,
            }
        if "path" in arguments:
            arguments["path"] = str(folder / "weights.safetensors")
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return ["--config", str(path)]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["stvae"])


@needs_lightning
@pytest.mark.filterwarnings("ignore")
def test_training_is_deterministic_resumes_and_exports(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from stvae_ros.cli.train import train

    whole, again, interrupted = (tmp_path / name for name in ("whole", "again", "interrupted"))
    for folder in (whole, again, interrupted):
        folder.mkdir()
    train(config(whole, 4))
    printed = capfd.readouterr()
    last = printed.out.strip().splitlines()[-1]
    assert last.startswith(f"8 steps, written to {whole}/weights.safetensors; validation part: PSNR ")
    assert "dB over the shipped ae-convlstm-flow" in last
    assert "step 4, validation: PSNR" in printed.err and " 8/8 steps" in printed.err, "of the whole training"
    train(config(again, 4))
    train([*config(interrupted, 4), "--trainer.max_steps", "3"])  # stops in the middle of the second epoch
    stopped = load_file(interrupted / "weights.safetensors")
    train(config(interrupted, 4))
    weights = [load_file(folder / "weights.safetensors") for folder in (whole, again, interrupted)]
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), f"{key} differs between two runs of one seed"
        assert torch.equal(value, weights[2][key]), f"{key} differs after resuming"
    assert any(not torch.equal(stopped[key], weights[2][key]) for key in stopped)
    metadata = Checkpoint.open(whole / "weights.safetensors").metadata
    assert metadata["recipe"].startswith("config/train/") and "val/epe" in metadata["figures"]
    assert metadata["steps"] == "8"
    zoo.load(whole / "weights.safetensors")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(whole / "tensorboard"))
    events.Reload()
    assert "val/pictures" in events.Tags()["images"] and "val/psnr_copy" in events.Tags()["scalars"]


@needs_lightning
@pytest.mark.filterwarnings("ignore")
def test_a_training_that_is_stopped_leaves_its_weights(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import lightning.pytorch as pl

    from stvae_ros.cli.train import train

    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
            if trainer.global_step == 3:
                raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit):
            train([*config(tmp_path, 4), "--trainer.check_val_every_n_epoch", "9"], [Stop()])
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores the signal from now on.
    assert Checkpoint.open(tmp_path / "weights.safetensors").metadata["steps"] == "3"
    assert f"stopped after step 3; the weights so far are written to {tmp_path}" in capfd.readouterr().out


@needs_lightning
def test_recipes_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stvae_ros.cli.train import _find_recipes

    monkeypatch.chdir(tmp_path)
    shipped = str(CONFIGS / "bags.yaml")
    for name in ("bags", "bags.yaml", "config/train/bags.yaml"):
        assert _find_recipes(["--config", name, "--data.bags", "x"]) == ["--config", shipped, "--data.bags", "x"]
        assert _find_recipes([f"--config={name}", "-c", name]) == [f"--config={shipped}", "-c", shipped]
    Path("bags.yaml").touch()
    assert _find_recipes(["--config", "bags.yaml"]) == ["--config", "bags.yaml"], "the user's own file comes first"
    with pytest.raises(ValueError, match=r"there is no recipe bag: give a file, or one of .*bags.*stvae-rt-m"):
        _find_recipes(["--config", "bag"])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_name_networks_and_files_that_exist(recipe: Path) -> None:
    content = yaml.safe_load(recipe.read_text())
    model = content["model"].get("init_args", content["model"])
    assert model["segmenter"] in segmenter_names() if "segmenter" in model else model["network"] in zoo.names()
    export = content["trainer"]["callbacks"][-1]["init_args"]
    assert export["recipe"] == f"config/train/{recipe.name}"


def test_every_recipe_has_the_options_that_the_gpu_add_on_changes() -> None:
    change = yaml.safe_load((CONFIGS / "stvae-rt-gpu.yaml").read_text())
    for size in ("s", "m", "l"):
        recipe = yaml.safe_load((CONFIGS / f"stvae-rt-{size}.yaml").read_text())
        assert change.keys() < recipe.keys()
        assert change["lr_scheduler"]["class_path"] == recipe["lr_scheduler"]["class_path"]
        assert change["lr_scheduler"]["init_args"]["total"] == change["trainer"]["max_steps"]
        assert change["trainer"]["max_time"] == "00:00:25:00"


@needs_lightning
@pytest.mark.parametrize("size", ["m", "l"])
def test_four_processes_share_the_batch_of_one(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    from stvae_ros.cli.train import train

    recipe, shared = (["--config", str(CONFIGS / f"{name}.yaml")] for name in (f"stvae-rt-{size}", "four-processes"))
    printed = []
    for arguments in (recipe, recipe + shared):
        with pytest.raises(SystemExit, match="0"):
            train([*arguments, "--print_config"])
        printed.append(yaml.safe_load(capsys.readouterr().out))
    one, four = printed
    batches = [config["data"]["init_args"].pop("batch_size") for config in printed]
    assert four["trainer"]["devices"] == 4 and batches == [4, 1]
    assert one["data"] == four["data"] and one["optimizer"] == four["optimizer"], "nothing else changes"


def test_charbonnier_is_square_near_zero_and_linear_far_away() -> None:
    values = charbonnier(torch.tensor([0.0, 0.01**2, 9.0, 16.0]), 0.1)
    assert values[0].item() == 0.0
    assert values[1].item() == pytest.approx(0.01**2 / (2 * 0.1), rel=5e-3)
    assert (values[3] - values[2]).item() == pytest.approx(1.0, rel=1e-3)


def test_gradient_term_by_hand() -> None:
    """A constant prediction of a ramp along x with slope 0.1 has gradient errors 0.1 along x and 0 along y."""
    frames = torch.zeros(1, 2, 1, 4, 6)
    frames[:, 1] = 0.1 * torch.arange(6.0)
    constant = Prediction(torch.zeros(1, 1, 4, 6), None)
    weights = LossWeights(frame=0.0, gradient=1.0)
    terms = sequence_losses([constant], frames, torch.zeros(1, 1, 2, 4, 6), torch.ones(1, 1, 4, 6), weights)
    assert set(terms) == {"gradient"}
    assert terms["gradient"].item() == pytest.approx(0.01, rel=1e-4)


def test_warped_term_is_smallest_for_the_true_backward_flow() -> None:
    first = torch.rand(1, 1, 6, 8)
    frames = torch.stack([first, first.roll(2, dims=-1)], dim=1)[..., 2:]
    frames[:, 0] = first[..., 2:]
    known, truth = torch.ones(1, 1, 6, 6, dtype=torch.bool), torch.zeros(1, 1, 2, 6, 6)
    errors = {}
    for x in (-2.0, 0.0, 2.0):
        flow = torch.tensor([x, 0.0]).view(1, 2, 1, 1).expand(1, 2, 6, 6)
        prediction = Prediction(torch.zeros(1, 1, 6, 6), flow)
        errors[x] = sequence_losses([prediction], frames, truth, known, LossWeights(frame=0, warped=1.0))[
            "warped"
        ].item()
    assert errors[-2.0] < 0.6 * min(errors[0.0], errors[2.0]), (
        "the image moved right by 2, so its origin is 2 to the left"
    )


def test_flow_term_counts_known_pixels_of_the_whole_frame() -> None:
    known = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    known[..., :2, :] = True
    predicted = Prediction(torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 4, 4))
    truth = torch.zeros(1, 1, 2, 4, 4)
    truth[:, :, 0], truth[:, :, 1] = 3.0, 4.0
    frames, weights = torch.zeros(1, 2, 1, 4, 4), LossWeights(frame=0.0, flow=1.0)
    term = sequence_losses([predicted], frames, truth, known, weights)["flow"].item()
    assert term == pytest.approx((math.sqrt(25 + 0.05**2) - 0.05) / 2, rel=1e-5)


def test_skipped_frames_count_in_no_term() -> None:
    torch.manual_seed(0)
    frames = torch.rand(2, 4, 1, 8, 8)
    flow, known = torch.randn(2, 3, 2, 8, 8), torch.rand(2, 3, 8, 8) < 0.5
    predictions = [Prediction(torch.rand(2, 1, 8, 8), torch.randn(2, 2, 8, 8)) for _ in range(3)]
    weights = LossWeights(1.0, 1.0, 1.0, 1.0, skip=1)
    skipped = sequence_losses(predictions, frames, flow, known, weights)
    rest = sequence_losses(predictions[1:], frames[:, 1:], flow[:, 1:], known[:, 1:], LossWeights(1.0, 1.0, 1.0, 1.0))
    assert set(skipped) == {"frame", "gradient", "warped", "flow"}
    for name in skipped:
        torch.testing.assert_close(skipped[name], rest[name])
    singly = [
        sequence_losses(
            predictions[t : t + 1], frames[:, t : t + 2], flow[:, t : t + 1], known[:, t : t + 1],
            LossWeights(1.0, 1.0, 1.0, 1.0),
        )
        for t in (1, 2)
    ]  # fmt: skip
    for name in skipped:
        torch.testing.assert_close(skipped[name], singly[0][name] + singly[1][name])


def test_flow_terms_need_flow() -> None:
    frames, flow, known = torch.zeros(1, 2, 1, 4, 4), torch.zeros(1, 1, 2, 4, 4), torch.zeros(1, 1, 4, 4)
    without_flow = [Prediction(torch.zeros(1, 1, 4, 4), None)]
    assert set(sequence_losses(without_flow, frames, flow, known, LossWeights(gradient=1.0))) == {"frame", "gradient"}
    for weights in (LossWeights(flow=0.1), LossWeights(warped=0.1)):
        with pytest.raises(ValueError, match="predicts flow"):
            sequence_losses(without_flow, frames, flow, known, weights)


@needs_lightning
def test_only_missing_clips_are_named(tmp_path: Path) -> None:
    from stvae_ros.training.data import SequenceData

    (tmp_path / "there.mp4").write_bytes(b"")
    data = SequenceData(["one.mp4", "there.mp4", "two.mp4"], root=str(tmp_path))
    with pytest.raises(MediaError, match=r"one\.mp4, .*two\.mp4; set --data\.root") as error:
        data.setup("fit")
    assert "there.mp4" not in str(error.value)


@needs_lightning
def test_training_loss_is_the_weighted_sum_of_its_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    from stvae_ros.data.sequences import SyntheticSequences
    from stvae_ros.training.module import NextFrameModule

    torch.manual_seed(0)
    weights = LossWeights(frame=2.0, gradient=0.5, warped=3.0, flow=0.25, skip=1)
    module = NextFrameModule(options={"encoder": [4], "memory": [4]}, loss=weights)
    logged: dict[str, torch.Tensor] = {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: value}))
    monkeypatch.setattr(module, "log_dict", logged.update)
    items = [SyntheticSequences(2, 3, (16, 16), 1, 3.0, 0)[i] for i in range(2)]
    batch = {key: torch.stack([item[key] for item in items]) for key in items[0]}
    total = module.training_step(batch, 0)
    predictions, _ = module.network(batch["frames"][:, :-1])
    terms = sequence_losses(predictions, batch["frames"], batch["flow"], batch["flow_known"], weights)
    expected = 2 * terms["frame"] + 0.5 * terms["gradient"] + 3 * terms["warped"] + 0.25 * terms["flow"]
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(logged["train/loss"], expected)
    assert {"train/frame", "train/gradient", "train/warped", "train/flow"} < logged.keys()
    assert total.requires_grad


@needs_lightning
def test_training_may_start_from_weights(tmp_path: Path) -> None:
    from stvae_ros.training.module import NextFrameModule

    torch.manual_seed(1)
    network, path = zoo.create("ae-convlstm-flow"), tmp_path / "start.safetensors"
    save(path, network, "ae-convlstm-flow")
    module = NextFrameModule(weights=str(path))
    assert all(torch.equal(v, network.state_dict()[key]) for key, v in module.network.state_dict().items())
    with pytest.raises(CheckpointError, match=r"absent\.safetensors"):
        NextFrameModule(weights=str(tmp_path / "absent.safetensors"))
    with pytest.raises(ValueError, match="'ae-nothing'"):
        NextFrameModule(network="ae-nothing")


@needs_lightning
@pytest.mark.filterwarnings("ignore")
def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    from stvae_ros.cli.train import train

    results = []
    for seed in ("0", "1"):
        folder = tmp_path / seed
        folder.mkdir()
        limits = ["--trainer.max_steps", "1", "--trainer.num_sanity_val_steps", "0", "--seed_everything", seed]
        train([*config(folder, 1), *limits])
        results.append(load_file(folder / "weights.safetensors"))
        metadata = Checkpoint.open(folder / "weights.safetensors").metadata
        assert metadata["steps"] == "1" and yaml.safe_load(metadata["processing_size"]) == [160, 120]
        assert yaml.safe_load(metadata["options"]) == {"encoder_gain": 10.0}
    for key in ("memory.cells.0.gates.weight", "decoder.1.weight"):
        assert not torch.equal(results[0][key], results[1][key])


@needs_lightning
def test_pictures_show_frames_and_direction_of_motion() -> None:
    from stvae_ros.training.callbacks import LogPictures

    grey = torch.full((3, 1, 8, 10), 0.5)
    flow = torch.zeros(3, 2, 8, 10)
    flow[:, 0] = -4.0
    outputs = {"current": grey, "next": 0 * grey, "warped": grey, "decoded": grey, "flow": flow}
    picture = LogPictures(count=2, max_magnitude=4.0)._draw(outputs)
    assert picture.shape == (3, 2 * 8, 5 * 10)
    assert picture[:, 4, 5].tolist() == [0.5] * 3 and picture[:, 4, 15].tolist() == [0.0] * 3
    assert picture[:, 4, 45].tolist() == pytest.approx([1.0, 0.0, 0.0]), "moving right is red"


def test_cross_entropy_and_sparsity_by_hand() -> None:
    frames = torch.zeros(1, 2, 1, 4, 4)
    frames[:, 1, :, :2] = 1.0
    logits, flow = torch.full((1, 1, 4, 4), 2.0), torch.tensor([3.0, -0.5]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    prediction = Prediction(torch.sigmoid(logits), flow, logits)
    weights = LossWeights(frame=0.0, cross_entropy=1.0, sparsity=1.0)
    truth, known = torch.zeros(1, 1, 2, 4, 4), torch.ones(1, 1, 4, 4, dtype=torch.bool)
    terms = sequence_losses([prediction], frames, truth, known, weights)
    white = 1 / (1 + math.exp(-2.0))
    assert terms["cross_entropy"].item() == pytest.approx(-(math.log(white) + math.log(1 - white)) / 2, rel=1e-5)
    assert terms["sparsity"].item() == pytest.approx(3.5)
    with pytest.raises(ValueError, match="sigmoid: true"):
        sequence_losses([Prediction(frames[:, 1], None)], frames, truth, known, LossWeights(cross_entropy=1.0))


@needs_lightning
def test_warmup_cosine_constant() -> None:
    from stvae_ros.training.schedules import WarmupCosine

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    schedule = WarmupCosine(optimizer, total=110, warmup=10, final=0.1)
    rates = []
    for _ in range(120):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(2.0) and rates[60] == pytest.approx((2.0 + 0.2) / 2)
    assert rates[110] == pytest.approx(0.2) and rates[119] == pytest.approx(0.2)


@needs_lightning
def test_moving_mnist_data_for_training_and_validation(tmp_path: Path) -> None:
    from stvae_ros.training.data import MovingMnistData

    data = MovingMnistData(train_count=20, validation_count=3, batch_size=2, length=4, digits=1, lines=True)
    data.setup("fit")
    batch = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
    assert batch["frames"].shape == (2, 5, 1, 64, 64) and set(batch["frames"].unique().tolist()) == {0.0, 1.0}
    assert (batch["frames"].mean(dim=(1, 2, 3)).amax(dim=1) == 1).all(), "the vertical line"
    public = tmp_path / "mnist_test_seq.npy"
    np.save(public, np.full((20, 3, 64, 64), 200, np.uint8))
    tested = MovingMnistData(test_file=str(public), length=4, binary=False)
    tested.setup("fit")
    batch = tested.on_after_batch_transfer(next(iter(tested.val_dataloader())), 0)
    assert batch["frames"].shape == (3, 5, 1, 64, 64) and not batch["flow_known"].any()
    assert batch["frames"].unique().tolist() == pytest.approx([200 / 255])


@needs_lightning
def test_several_processes_share_one_large_batch() -> None:
    from stvae_ros.training.data import ResumableSampler

    def samples(processes: int, rank: int, batch_size: int, done: int) -> list[int]:
        trainer = SimpleNamespace(world_size=processes, global_rank=rank, global_step=done)
        sampler = ResumableSampler(SimpleNamespace(trainer=trainer), 2, batch_size, wrap=20)  # type: ignore[arg-type]
        assert len(sampler) == 2 * batch_size
        return list(sampler)

    assert samples(1, 0, 6, 1) == list(range(6, 18))
    shared = [samples(3, rank, 2, 1) for rank in range(3)]
    assert shared == [[6, 7, 12, 13], [8, 9, 14, 15], [10, 11, 16, 17]]
    assert samples(1, 0, 6, 3) == [18, 19, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
