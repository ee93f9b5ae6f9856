"""Cleanup gives memory back."""

import psutil
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from robot import MS, Robot

from stvae_ros.data.scenes.shapes import SyntheticScene

FLOW = "/perception/flow"
MEMORY = 26e6
"""Bytes of the weights of ae-convlstm-flow and of its state at 480x352. The allocator keeps less than that."""


def test_cleanup_gives_memory_back() -> None:
    scene = SyntheticScene(4, 640, 480)
    with Robot() as robot:
        robot.listen(FLOW)
        large = {"model": "ae-convlstm-flow", "processing_size": [480, 352], "precision": "fp32"}
        node = robot.start("perception_node", autostart=False, num_threads=1, **large)

        def change(transition: int) -> int:
            """Resident bytes after it."""
            request = Transition(id=transition)
            assert robot.call(ChangeState, "/perception/change_state", transition=request).success
            return psutil.Process(node.pid).memory_info().rss

        freed, left = [], []
        for _ in range(3):
            change(Transition.TRANSITION_CONFIGURE)
            change(Transition.TRANSITION_ACTIVATE)
            robot.spin(1.0)  # until the camera has found the new subscription
            for t in range(3):
                seen = len(robot.messages[FLOW])
                robot.show(scene.frame(t), (t + 1) * 40 * MS)
                robot.wait_for(lambda seen=seen: len(robot.messages[FLOW]) > seen)
            used = change(Transition.TRANSITION_DEACTIVATE)
            left.append(change(Transition.TRANSITION_CLEANUP))
            freed.append(used - left[-1])
        figures = f"MB freed {[n // 10**6 for n in freed]}, left {[n // 10**6 for n in left]}"
        assert min(freed) > MEMORY, figures
        assert left[2] - left[0] < 1.5 * MEMORY, "two cycles that keep everything would add 2 * MEMORY; " + figures
