"""The perception node: camera images and sparse labels in; predicted frame, flow, surprise and labels out."""

from __future__ import annotations

import time

import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from rclpy.utilities import try_shutdown
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool, Trigger

from stvae_ros.nodes.camera import Camera
from stvae_ros.nodes.camera_labels import CameraLabels
from stvae_ros.nodes.diagnostics import camera_status, diagnostic_array, process_status
from stvae_ros.nodes.inference import Inference
from stvae_ros.nodes.label_info import publish_label_info
from stvae_ros.nodes.loading import load, thread_count
from stvae_ros.nodes.outputs import is_wanted, messages
from stvae_ros.nodes.parameters import declare_parameters, refusal
from stvae_ros.resources import share_directory
from stvae_ros.streaming import Motion
from stvae_ros.streaming.outputs import OUTPUTS, Moment
from stvae_ros.visualization.label_colors import ClassTable

OUTPUT_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=2,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
Success, Failure = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PerceptionNode(LifecycleNode):
    """Lifecycle node: weights are loaded in configure, subscriptions made in activate, memory freed in cleanup.

    Callbacks only put messages into slots; one inference thread converts, steps the network and publishes.
    """

    def __init__(self, **node_options: object) -> None:
        super().__init__("perception", **node_options)  # type: ignore[arg-type]
        declare_parameters(self)
        problem = refusal(list(self._parameters.values()), configured=False)
        if problem:
            raise ValueError(problem)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._inference = Inference(self.get_clock(), self.get_logger(), self._deliver)
        self._cameras: dict[str, Camera] = {}
        self._outputs: dict[str, dict[str, LifecyclePublisher]] = {}
        self._image_subscriptions: dict[str, Subscription] = {}
        self._label_subscriptions: dict[str, Subscription] = {}
        self._classes = ClassTable()
        self._label_info: Publisher | None = None
        self._enabled = True
        self._problem: str | None = None
        self._description: dict[str, object] = {}
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(SetBool, "~/enable", self._on_enable)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(1.0, self._publish_diagnostics, callback_group=MutuallyExclusiveCallbackGroup())

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the weights and create the outputs; on failure say why and stay unconfigured."""
        try:
            self._configure()
        except (ValueError, OSError, RuntimeError) as error:
            self._problem = f"configure failed: {error}"
            self.get_logger().error(self._problem)
            self._release()
            return Failure
        self._problem = None
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the cameras and start the inference thread."""
        result = super().on_activate(state)
        if result != Success:
            return result
        values = {name: parameter.value for name, parameter in self._parameters.items()}
        self._inference.start(self._cameras.values(), thread_count(values))
        for camera in self._cameras.values():
            self._image_subscriptions[camera.name] = self._subscribe(camera)
            self._label_subscriptions[camera.name] = self._subscribe_to_labels(camera)
        topics = ", ".join(s.topic_name for s in self._image_subscriptions.values())
        self.get_logger().info(f"active, waiting for images on {topics}")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and stop the inference thread; memories are emptied."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free network and outputs."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free everything."""
        self.close()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, so that the node can be configured again."""
        self.close()
        return Success

    def _configure(self) -> None:
        value = {name: parameter.value for name, parameter in self._parameters.items()}
        cameras = list(value["cameras"])
        if len(set(cameras)) != len(cameras) or not cameras or (len(cameras) > 1 and "" in cameras):
            raise ValueError(f"cameras = {cameras} must be different names, none of them empty if there are several")
        self._classes = ClassTable.load(value["label_classes"] or share_directory() / "config" / "labels.yaml")
        self._inference.predictor, self._description = load(value)
        self.get_logger().info(", ".join(f"{key} {text}" for key, text in self._description.items()))
        self._label_info = publish_label_info(self, self._classes)
        limit = 1 if value["queue"] == "latest" else value["queue_limit"]
        for name in cameras:
            labels = CameraLabels(value["label_history"], value["doubtful_labels"] == "fill")
            self._cameras[name] = camera = Camera(name, limit, self._inference.wake, labels)
            self._outputs[name] = {
                output.name: self.create_lifecycle_publisher(
                    Image,
                    f"~/{camera.topic(output.name)}",
                    OUTPUT_QOS,
                    qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                )
                for output in OUTPUTS
            }

    def _subscribe(self, camera: Camera) -> Subscription:
        compressed = self.get_parameter("image_transport").value == "compressed"
        keep_newest = self.get_parameter("queue").value == "latest"
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=5 if keep_newest else camera.limit,
            reliability=ReliabilityPolicy.BEST_EFFORT,
        )
        return self.create_subscription(
            CompressedImage if compressed else Image,
            camera.topic("image/compressed" if compressed else "image"),
            lambda message: self._on_image(camera, message, keep_newest),
            qos,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _subscribe_to_labels(self, camera: Camera) -> Subscription:
        return self.create_subscription(
            Image,
            camera.topic("segmentation"),
            lambda message: self._on_labels(camera, message),
            QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _stop(self) -> None:
        for subscriptions in (self._image_subscriptions, self._label_subscriptions):
            for subscription in subscriptions.values():
                self.destroy_subscription(subscription)
            subscriptions.clear()
        self._inference.stop()
        for camera in self._cameras.values():
            camera.waiting.clear()
            camera.labels.clear()

    def _release(self) -> None:
        for publishers in self._outputs.values():
            for publisher in publishers.values():
                self.destroy_lifecycle_publisher(publisher)
        if self._label_info is not None:
            self.destroy_publisher(self._label_info)
            self._label_info = None
        self._outputs.clear()
        self._cameras.clear()
        self._inference.predictor = None
        self._description = {}
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Stop the inference thread and free everything, whatever the lifecycle state."""
        self._stop()
        self._release()

    # Callbacks of the executor

    def _on_image(self, camera: Camera, message: Image | CompressedImage, keep_newest: bool) -> None:
        if self._enabled:
            camera.put(message, keep_newest)

    def _on_labels(self, camera: Camera, message: Image) -> None:
        if self._enabled:
            camera.labels.put(message)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._inference.predictor is None:
            response.message = "not configured: there is no memory to reset"
            return response
        response.message = f"emptied the memory of {self._inference.reset('requested')} cameras"
        response.success = True
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if self._enabled and not request.data:
            self._inference.reset("disabled")
        self._enabled = request.data
        response.success = True
        response.message = "enabled" if request.data else "disabled: images are ignored"
        return response

    def _on_set_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        predictor = self._inference.predictor
        problem = refusal(parameters, configured=predictor is not None)
        if problem is None and predictor is not None:
            for parameter in parameters:
                if parameter.name in ("max_gap", "horizon"):
                    setattr(predictor, parameter.name, parameter.value)
        return SetParametersResult(successful=problem is None, reason=problem or "")

    def _publish_diagnostics(self) -> None:
        state = self._state_machine.current_state[1]
        if not self._enabled and state == "active":
            state = "disabled"
        name = self.get_fully_qualified_name().lstrip("/")
        statuses = [process_status(name, self._problem, state, self._description)]
        for camera in self._cameras.values():
            subscription = self._image_subscriptions.get(camera.name)
            if subscription is not None:
                topic = subscription.topic_name
                statuses.append(camera_status(name, camera, topic, self.count_publishers(topic)))
        self._diagnostics.publish(diagnostic_array(self.get_clock().now().to_msg(), statuses))

    # Called on the inference thread

    def _deliver(self, camera: Camera, motion: Motion, message: Image | CompressedImage) -> float:
        self._advance_labels(camera, motion)
        start = time.monotonic()
        self._publish(camera, motion, message.header.frame_id)
        return time.monotonic() - start

    def _advance_labels(self, camera: Camera, motion: Motion) -> None:
        subscription = self._label_subscriptions.get(camera.name)
        # Until somebody labels, nothing needs to be carried.
        if subscription is not None and (camera.labels.received or self.count_publishers(subscription.topic_name)):
            for problem in camera.labels.advance(motion):
                self.get_logger().warning(f"{camera.topic('segmentation')}: {problem}", throttle_duration_sec=5.0)

    def _publish(self, camera: Camera, motion: Motion, frame_id: str) -> None:
        publishers = self._outputs[camera.name]
        wanted = [output for output in OUTPUTS if is_wanted(publishers[output.name])]
        color_max = float(self.get_parameter("flow_color_max").value)
        moment = Moment(motion, camera.labels.propagator, self._classes, color_max)
        for name, message in messages(moment, wanted, frame_id):
            publishers[name].publish(message)


def main() -> None:
    """Run the node until it is interrupted."""
    rclpy.init()
    node = None
    try:
        node = PerceptionNode()
        if node.get_parameter("autostart").value and node.trigger_configure() == Success:
            node.trigger_activate()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ParameterException, ValueError) as error:
        raise SystemExit(f"perception_node: {error}") from None
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        try_shutdown()


if __name__ == "__main__":
    main()
