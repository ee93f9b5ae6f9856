"""The perception node: camera images and sparse labels in; predicted frame, flow, surprise, labels and events out."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock
from rclpy.exceptions import ParameterException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from rclpy.utilities import try_shutdown
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from stvae_ros.nodes.compat import (
    ClockType,
    after_setting_parameters,
)
from stvae_ros.nodes.diagnostics.connections import (
    clock_problem,
    detections_problem,
    input_problem,
    labels_problem,
    output_problem,
)
from stvae_ros.nodes.diagnostics.status import SILENT_AFTER, camera_status, diagnostic_array, process_status
from stvae_ros.nodes.perception.camera import Camera
from stvae_ros.nodes.perception.camera_detections import CameraDetections
from stvae_ros.nodes.perception.camera_labels import CameraLabels
from stvae_ros.nodes.perception.inference import Inference
from stvae_ros.nodes.perception.label_info import publish_label_info
from stvae_ros.nodes.perception.model import (
    SWAPPABLE,
    ActiveNetwork,
    NetworkSwap,
    event_model,
    free_memory,
    in_thread,
    load,
    load_segmenter,
    thread_count,
    trim_memory,
    warm_up,
)
from stvae_ros.nodes.perception.outputs import is_wanted, messages
from stvae_ros.nodes.perception.parameters import declare_parameters, refusal
from stvae_ros.nodes.perception.topics import (
    advertise,
    advertise_detections,
    subscribe_to_detections,
    subscribe_to_frames,
    subscribe_to_labels,
)
from stvae_ros.nodes.stopping import Stop, end_process
from stvae_ros.resources import share_directory
from stvae_ros.streaming import StepResult
from stvae_ros.streaming.outputs import OUTPUTS
from stvae_ros.visualization.label_colors import ClassTable

_RESTART_SECONDS = 5.0
"""Time from an error until a node with autostart configures itself again."""
Success, Failure = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PerceptionNode(LifecycleNode):
    """Lifecycle node: configure loads the network, activate subscribes, cleanup frees the memory.

    Callbacks only queue messages. One inference thread converts them, runs the network and publishes.

    Args:
        stop: set when the process shall end. Nothing is waited for then.
        node_options: of rclpy's LifecycleNode.

    Raises:
        ValueError: a parameter has a value that cannot be used.
    """

    def __init__(self, stop: threading.Event | None = None, **node_options: object) -> None:
        super().__init__("perception", **node_options)  # type: ignore[arg-type]
        self._stopping = stop or threading.Event()
        declare_parameters(self)
        problem = refusal(list(self._parameters.values()), configured=False)
        if problem:
            raise ValueError(problem)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        after_setting_parameters(self, self._after_set_parameters)
        self._from_threads = self.create_guard_condition(self._on_news)
        self._inference = Inference(self.get_clock(), self.get_logger(), self._deliver, self._on_failure)
        self._swap = NetworkSwap(self._from_threads.trigger)
        self._cameras: dict[str, Camera] = {}
        self._outputs: dict[str, dict[str, LifecyclePublisher]] = {}
        self._image_subscriptions: dict[str, Subscription] = {}
        self._label_subscriptions: dict[str, Subscription] = {}
        self._detection_subscriptions: dict[str, Subscription] = {}
        self._classes = ClassTable()
        self._label_info: Publisher | None = None
        self._enabled = True
        self._problem: str | None = None
        self._warning: str | None = None
        self._failure: str | None = None
        self._restart_time = float("inf")
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(SetBool, "~/enable", self._on_enable)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # The steady clock: diagnostics must also report a simulated time that stands still.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._on_timer, MutuallyExclusiveCallbackGroup(), clock)
        answer = self._service_change_state.callback

        def change_state(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
            # rclpy raises if the state has no such transition. The caller would then wait for ever.
            try:
                return answer(request, response)
            except rclpy_implementation.RCLError as error:
                self.get_logger().warning(f"refused to change state: {error}")
                response.success = False
                return response

        self._service_change_state.callback = change_state

    # Lifecycle

    def start(self) -> None:
        """Configure and activate."""
        if self.trigger_configure() == Success:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network and create the outputs. On failure, report the reason and stay unconfigured."""
        try:
            self._configure()
        except InterruptedError:
            return Failure
        except (ValueError, OSError, RuntimeError) as error:
            self._problem = f"configure failed: {error}"
            self.get_logger().error(self._problem)
            self._release()
            return Failure
        self._problem = self._warning = None
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the cameras and start the inference thread."""
        result = super().on_activate(state)
        if result != Success:
            return result
        try:
            values = self._values()
            self._inference.start(self._cameras.values(), thread_count(values), values["max_image_pixels"])
            for camera in self._cameras.values():
                self._image_subscriptions[camera.name] = self._subscribe(camera)
                self._label_subscriptions[camera.name] = subscribe_to_labels(
                    self, camera, partial(self._on_labels, camera)
                )
                detections = subscribe_to_detections(self, camera, partial(self._on_detections, camera))
                if detections is not None:
                    self._detection_subscriptions[camera.name] = detections
        except (ValueError, RuntimeError) as error:
            self._problem = f"activate failed: {error}"
            return TransitionCallbackReturn.ERROR
        topics = ", ".join(s.topic_name for s in self._image_subscriptions.values())
        self.get_logger().info(f"active, waiting for images on {topics}")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, stop the inference thread and empty all memories. If the device has failed, this is an error."""
        self._stop()
        if self._failure is not None:
            self._problem, self._failure = self._failure, None
            return TransitionCallbackReturn.ERROR
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
        """Free everything. The node can be configured again; with autostart it does so by itself."""
        self._problem = self._problem or f"an error in state {state.label}"
        self.get_logger().error(self._problem)
        self.close()
        if self.get_parameter("autostart").value:
            self._restart_time = time.monotonic() + _RESTART_SECONDS
        return Success

    def _configure(self) -> None:
        value = self._values()
        cameras = list(value["cameras"])
        if len(set(cameras)) != len(cameras) or not cameras or (len(cameras) > 1 and "" in cameras):
            raise ValueError(f"cameras = {cameras} must be different names, none of them empty if there are several")
        self._classes = ClassTable.load(value["label_classes"] or share_directory() / "config" / "labels.yaml")
        loading = in_thread(lambda: warm_up(load(value)), thread_count(value))
        while not loading.done():
            if self._stopping.wait(0.05):
                raise InterruptedError
        self._inference.segmenter = load_segmenter(value)
        self._use(loading.result())
        self._label_info = publish_label_info(self, self._classes)
        newest = value["queue"] == "latest"
        limit = 1 if newest else value["queue_limit"]
        for name in cameras:
            labels = CameraLabels(value["label_history"], value["doubtful_labels"] == "fill", value["max_image_pixels"])
            detections = CameraDetections(value["label_history"])
            self._cameras[name] = camera = Camera(name, limit, self._inference.wake, labels, newest, detections)
            self._outputs[name] = {output.name: advertise(self, camera, output.name) for output in OUTPUTS}
            self._outputs[name] |= advertise_detections(self, camera)

    def _values(self) -> dict[str, Any]:
        return {name: parameter.value for name, parameter in self._parameters.items()}

    def _use(self, network: ActiveNetwork) -> None:
        """Use a network from the next frame on."""
        before = self._inference.active
        network.event_model = event_model(self._values())
        self._inference.exchange(network)
        for camera in self._cameras.values():
            if camera.name in self._image_subscriptions and (
                network.takes_packets or (before and before.takes_packets)
            ):
                self.destroy_subscription(self._image_subscriptions[camera.name])
                self._image_subscriptions[camera.name] = self._subscribe(camera)
        self.get_logger().info(", ".join(f"{key} {text}" for key, text in network.description.items()))

    def _subscribe(self, camera: Camera) -> Subscription:
        network = self._inference.active
        assert network is not None
        if network.takes_packets:
            return subscribe_to_frames(self, camera, network.event_image, partial(self._on_image, camera, network))
        return subscribe_to_frames(self, camera, None, partial(self._on_image, camera, None))

    def _stop(self) -> None:
        self._inference.stop()  # First: its thread uses the subscriptions.
        for subscriptions in (self._image_subscriptions, self._label_subscriptions, self._detection_subscriptions):
            for subscription in subscriptions.values():
                self.destroy_subscription(subscription)
            subscriptions.clear()
        for camera in self._cameras.values():
            camera.forget("deactivated")

    def _release(self) -> None:
        for publishers in self._outputs.values():
            for publisher in publishers.values():
                self.destroy_lifecycle_publisher(publisher)
        if self._label_info is not None:
            self.destroy_publisher(self._label_info)
            self._label_info = None
        self._outputs.clear()
        self._cameras.clear()
        self._swap.cancel()
        self._inference.exchange(None)
        self._inference.segmenter = None
        free_memory()

    def close(self) -> None:
        """Stop the inference thread and free everything, in any lifecycle state."""
        self._stop()
        self._release()

    # Callbacks of the executor

    def _on_image(self, camera: Camera, made_for: ActiveNetwork | None, message: Image | CompressedImage) -> None:
        if self._enabled:
            camera.put(message, made_for)
        else:
            camera.ignore("disabled")

    def _on_labels(self, camera: Camera, message: Image) -> None:
        if self._enabled:
            camera.labels.put(message)

    def _on_detections(self, camera: Camera, message: Any) -> None:
        if self._enabled:
            camera.detections.put(message)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._inference.active is None:
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
        active = self._inference.active
        problem = refusal(parameters, configured=active is not None)
        if problem is None and active is not None:
            changed = {parameter.name: parameter.value for parameter in parameters}
            if not changed.keys().isdisjoint(SWAPPABLE):
                try:
                    self._swap.load(self._values() | changed, active)
                except (ValueError, OSError, RuntimeError) as error:
                    problem = str(error)
        return SetParametersResult(successful=problem is None, reason=problem or "")

    def _after_set_parameters(self, parameters: list[Parameter]) -> None:
        active, names = self._inference.active, {parameter.name for parameter in parameters}
        if active is None:
            return
        for name in names & {"max_gap", "horizon"}:
            setattr(active.predictor, name, self.get_parameter(name).value)
        if not names.isdisjoint(SWAPPABLE):
            self._warning = None
            self._swap.start()

    def _on_news(self) -> None:
        """Called for another thread: the device has failed, or another network is ready or has failed."""
        if self._failure is not None and self._state_machine.current_state[1] == "active":
            self.trigger_deactivate()
        network, problem = self._swap.take()
        if network is not None:
            network.predictor.max_gap = self.get_parameter("max_gap").value
            network.predictor.horizon = self.get_parameter("horizon").value
            self._use(network)
            trim_memory()
        elif problem and self._inference.active is not None:
            values = self._inference.active.values.items()
            self.set_parameters_atomically([Parameter(name, value=value) for name, value in values])
            self._warning = f"the network was not changed: {problem}"
            self.get_logger().error(self._warning)

    def _on_timer(self) -> None:
        if time.monotonic() >= self._restart_time:
            self._restart_time = float("inf")
            if self._state_machine.current_state[1] == "unconfigured":
                self.start()
        self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        state = self._state_machine.current_state[1]
        if not self._enabled and state == "active":
            state = "disabled"
        name = self.get_fully_qualified_name().lstrip("/")
        warning = self._warning or clock_problem(self)
        for publisher in (each for publishers in self._outputs.values() for each in publishers.values()):
            if self.count_subscribers(publisher.topic_name) > publisher.get_subscription_count():
                warning = warning or output_problem(self, publisher)
        active = self._inference.active
        description = {} if active is None else dict(active.description)
        if self._swap.in_progress:
            description["next network"] = "warming up"
        statuses = [process_status(name, self._problem, warning, state, description)]
        for camera in self._cameras.values():
            subscription = self._image_subscriptions.get(camera.name)
            if subscription is not None:
                silent = time.monotonic() - camera.last_arrival > SILENT_AFTER
                problem = input_problem(self, subscription) if silent else None
                carried_problem = labels_problem(self, self._label_subscriptions[camera.name]) or detections_problem(
                    self,
                    self.resolve_topic_name(camera.topic("detections")),
                    self._detection_subscriptions.get(camera.name),
                )
                statuses.append(camera_status(name, camera, subscription.topic_name, problem, carried_problem))
        self._diagnostics.publish(diagnostic_array(self.get_clock().now().to_msg(), statuses))

    # Called on the inference thread

    def _on_failure(self, reason: str) -> None:
        self._failure = reason
        self._from_threads.trigger()

    def _deliver(
        self, camera: Camera, network: ActiveNetwork, motion: StepResult, message: Image | CompressedImage
    ) -> float:
        self._advance_labels(camera, motion)
        self._advance_detections(camera, motion)
        start = time.monotonic()
        self._publish(camera, network, motion, message.header)
        return time.monotonic() - start

    def _advance_labels(self, camera: Camera, motion: StepResult) -> None:
        subscription = self._label_subscriptions.get(camera.name)
        # Labels are carried once there is a source of labels.
        if subscription is not None and (
            self._inference.segmenter is not None
            or camera.labels.received
            or self.count_publishers(subscription.topic_name)
        ):
            for problem in camera.labels.advance(motion):
                camera.complain(problem, subscription.topic_name)
                self.get_logger().warning(f"{camera.topic('segmentation')}: {problem}", throttle_duration_sec=5.0)

    def _advance_detections(self, camera: Camera, motion: StepResult) -> None:
        subscription = self._detection_subscriptions.get(camera.name)
        if subscription is not None and (camera.detections.received or self.count_publishers(subscription.topic_name)):
            for problem in camera.detections.advance(motion):
                camera.complain(problem, subscription.topic_name)
                self.get_logger().warning(f"{camera.topic('detections')}: {problem}", throttle_duration_sec=5.0)

    def _publish(self, camera: Camera, network: ActiveNetwork, motion: StepResult, header: Header) -> None:
        publishers = self._outputs[camera.name]
        wanted = [output for output in OUTPUTS if is_wanted(publishers[output.name])]
        values = self._values()
        events = network.input_of(camera.name).events
        events.set_model(event_model(values))
        context = camera.state.advance(motion, wanted, self._classes, events, float(values["flow_color_max"]))
        for name, message in messages(context, wanted, header):
            publishers[name].publish(message)
        self._publish_detections(camera, motion, header)

    def _publish_detections(self, camera: Camera, motion: StepResult, header: Header) -> None:
        publishers = self._outputs[camera.name]
        wanted = {
            name for name in ("detections", "detections_color") if name in publishers and is_wanted(publishers[name])
        }
        message = camera.detections.message(motion, header) if wanted else None
        if message is None:
            return
        if "detections" in wanted:
            publishers["detections"].publish(message)
        if "detections_color" in wanted:
            publishers["detections_color"].publish(camera.detections.drawn(motion, message))


def main() -> None:
    """Run the node until SIGINT or SIGTERM."""
    with Stop() as stop:
        _run(stop)
    end_process()


def _run(stop: Stop) -> None:
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = None
    try:
        node = PerceptionNode(stop)
        if node.get_parameter("autostart").value:
            node.start()
        stop.spin(node)
    except (ParameterException, ValueError) as error:
        raise SystemExit(f"perception_node: {error}") from None
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        try_shutdown()


if __name__ == "__main__":
    main()
