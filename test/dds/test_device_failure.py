"""A device without memory, or lost: frames are dropped and counted, then the error transition, then recovery."""

from pathlib import Path

import pytest
import torch
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from robot import MS, Robot, small_network
from sensor_msgs.msg import Image
from torch import Tensor

from stvae_ros import zoo
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nn.interface import FramePredictor, Prediction, State
from stvae_ros.nodes.conversion import array_to_image, to_time
from stvae_ros.nodes.perception.model import ActiveNetwork
from stvae_ros.nodes.perception.node import PerceptionNode
from stvae_ros.streaming import StreamingPredictor

FLOW = "/perception/flow"
NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
LOST = torch.AcceleratorError("CUDA error: unspecified launch failure")


class Failing(FramePredictor):
    """A network that fails in the steps given, counted from 0."""

    def __init__(self, network: FramePredictor, errors: dict[int, Exception]) -> None:
        super().__init__()
        self.network, self.errors, self.steps = network, errors, 0
        self.in_channels, self.size_multiple = network.in_channels, network.size_multiple

    def initial_state(self, batch: int, height: int, width: int) -> State:
        return self.network.initial_state(batch, height, width)

    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        self.steps += 1
        if self.steps - 1 in self.errors:
            raise self.errors[self.steps - 1]
        return self.network.step(frame, state)


@pytest.mark.parametrize(
    ("errors", "lost", "last"),
    [
        (dict.fromkeys((2, 3, 5, 6, 7), NO_MEMORY), 5, "out of memory in 3 consecutive frames"),
        ({1: LOST}, 1, "the device failed: CUDA error"),
    ],
    ids=["memory", "lost"],
)
def test_a_failing_device(tmp_path: Path, errors: dict[int, Exception], lost: int, last: str) -> None:
    weights, scene = small_network(tmp_path), SyntheticScene(4, 96, 64)
    options = {"model": str(weights), "num_threads": 1, "autostart": True}
    with Robot() as robot:
        overrides = [Parameter(name, value=value) for name, value in options.items()]
        node = PerceptionNode(context=robot.context, parameter_overrides=overrides)
        robot.executor.add_node(node)
        node.start()
        robot.listen(FLOW)
        camera = robot.node.create_publisher(Image, "image", QoSProfile(depth=10))
        failing = Failing(zoo.load(weights), errors)
        predictor = StreamingPredictor(failing, "cpu", "fp32", (96, 64))
        node._inference.exchange(ActiveNetwork(predictor, node._values(), {}, None))
        robot.wait_for(lambda: camera.get_subscription_count() == 1)
        robot.spin(0.5)
        flows, shown = robot.messages[FLOW], 0

        def show() -> None:
            nonlocal shown
            shown += 1
            camera.publish(array_to_image(scene.frame(shown), "bgr8", to_time(shown * 40 * MS), "lens"))

        for step in range(max(errors)):
            answered = len(flows)
            show()
            robot.wait_for(lambda step=step, answered=answered: failing.steps > step and len(flows) >= answered)
            robot.wait_for(lambda step=step, answered=answered: step in errors or len(flows) > answered)
        if lost > 1:
            reason = "out of memory"
            robot.wait_for(lambda: robot.count(f"drops: {reason}") == lost - 1 and robot.count(f"resets: {reason}"))
            assert robot.process()[1]["state"] == "active", "two in succession are survived"
        show()
        status = robot.wait_for(lambda: robot.process()[1].get("state") == "unconfigured" and robot.process()[0])
        assert status.level == b"\2" and last in status.message
        robot.wait_for(lambda: robot.process()[1].get("state") == "active" and robot.process()[0].level == b"\0")
        robot.wait_for(lambda: camera.get_subscription_count() == 1)
        robot.spin(0.5)
        answered = len(flows)
        show()
        robot.wait_for(lambda: len(flows) > answered)
        robot.executor.remove_node(node)
        node.close()
        node.destroy_node()
