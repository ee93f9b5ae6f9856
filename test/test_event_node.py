"""Events and moving objects of the perception node, over DDS."""

import cv2
import numpy as np
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from robot import MS, Robot
from sensor_msgs.msg import Image

from stvae_ros.data.synthetic import SyntheticScene
from stvae_ros.nodes.conversion import image_to_array, to_nanoseconds
from stvae_ros.streaming.events import EventModel, EventSimulator
from stvae_ros.visualization.event_colors import events_to_color, events_to_grey

KINDS = ("events", "predicted_events", "surprise_events")
TOPICS = (*KINDS, *(f"{kind}_color" for kind in KINDS), "motion_mask")
SHOWN = 6


def test_event_topics_and_motion_mask() -> None:
    scene = SyntheticScene(7778, 160, 120)
    images = [scene.frame(t) for t in range(SHOWN + 3)]
    with Robot() as robot:
        for name in TOPICS:
            robot.listen(f"/perception/{name}")
        robot.listen("/perception/flow")
        robot.start_perception(model="stvae-rt-s", theta_off=0.3)
        robot.feed(images[:SHOWN], "/perception/flow")
        messages: dict[str, list[Image]] = {name: robot.messages[f"/perception/{name}"] for name in TOPICS}
        robot.wait_for(lambda: all(len(received) == SHOWN - 1 for received in messages.values()))

        simulator = EventSimulator(EventModel(theta_on=0.2, theta_off=0.3))
        for t, image in enumerate(images[:SHOWN]):
            made = simulator.step(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (t + 1) * 40 * MS)
            if made is None:
                continue
            drawn = {name: image_to_array(messages[name][t - 1]) for name in TOPICS}
            assert np.array_equal(drawn["events"], events_to_grey(made.counts))
            assert np.array_equal(drawn["events_color"], events_to_color(made.counts))
        assert 0.02 < (made.counts != 0).mean() < 0.9
        for name, received in messages.items():
            ahead = 40 * MS if name.startswith("predicted") else 0
            encoding = "bgr8" if name.endswith("color") else "mono8"
            for t, message in enumerate(received, start=2):
                assert (message.width, message.height, message.encoding) == (160, 120, encoding)
                assert message.header.frame_id == "lens"
                assert to_nanoseconds(message.header.stamp) == t * 40 * MS + ahead, name
            values = set(np.unique(np.stack([image_to_array(message) for message in received])).tolist())
            if name in KINDS:
                assert values == {0, 128, 255}, name
            elif name == "motion_mask":
                assert values == {0, 255}
        truth = scene.truth(SHOWN - 1).labels > 0
        mask = drawn["motion_mask"] > 0
        assert (mask & truth).sum() / (mask | truth).sum() > 0.4

        value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=5.0)
        parameters = [Parameter(name=name, value=value) for name in ("theta_on", "theta_off")]
        results = robot.call(SetParameters, "/perception/set_parameters", parameters=parameters).results
        assert all(result.successful for result in results)
        robot.feed(images[SHOWN:], "/perception/flow", start=SHOWN + 1)
        robot.wait_for(lambda: len(messages["events"]) == SHOWN + 2)
        assert (image_to_array(messages["events"][-1]) == 128).all(), "nothing changes by so much"
