"""The perception node: camera images and sparse labels in; predicted frame, flow, surprise, labels and events out."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from stvae_ros.nodes.compat import (
    ClockType,
    after_setting_parameters,
)
from stvae_ros.nodes.diagnostics.announcer import Announcer
from stvae_ros.nodes.diagnostics.connections import (
    camera_info_problem,
    clock_problem,
    detections_problem,
    input_problem,
    labels_problem,
    name_problem,
    output_problem,
)
from stvae_ros.nodes.diagnostics.status import SILENT_AFTER, camera_status, diagnostic_array, process_status
from stvae_ros.nodes.perception.camera import Camera
from stvae_ros.nodes.perception.camera_detections import CameraDetections
from stvae_ros.nodes.perception.camera_info import camera_info_messages, mismatch
from stvae_ros.nodes.perception.camera_labels import CameraLabels
from stvae_ros.nodes.perception.carried_input import CarriedInput
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
from stvae_ros.nodes.perception.outputs import TOPICS, is_wanted, messages, outputs_of
from stvae_ros.nodes.perception.parameters import declare_parameters, refusal
from stvae_ros.nodes.perception.qos import override_refusal
from stvae_ros.nodes.perception.topics import (
    advertise,
    advertise_detections,
    subscribe_to_camera_info,
    subscribe_to_detections,
    subscribe_to_frames,
    subscribe_to_labels,
)
from stvae_ros.nodes.startup import files_without_node, ignored_parameters, ros
from stvae_ros.nodes.stopping import Stop, end_process
from stvae_ros.resources import share_directory
from stvae_ros.streaming import StepResult
from stvae_ros.visualization.label_colors import ClassTable

_RESTART_SECONDS = 5.0
"""Time from an error until a node with autostart configures itself again."""
_LAZY_AFTER, _LAZY_POLL = 2.0, 0.1
"""With lazy: seconds without a subscriber until a camera sleeps, and from one look at the subscribers to the next."""
Success, Failure = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


_Transition = Callable[["PerceptionNode", LifecycleState], TransitionCallbackReturn]


def _explained(transition: _Transition) -> _Transition:
    """Keep the reason of an exception in a transition; rclpy would only say that there was one."""

    @wraps(transition)
    def explained(node: PerceptionNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception as error:
            name = transition.__name__.removeprefix("on_")
            node._problem = f"{name} failed: {type(error).__name__}: {error}"
            node.get_logger().error(traceback.format_exc())
            return TransitionCallbackReturn.ERROR

    return explained


class PerceptionNode(LifecycleNode):
    """Lifecycle node: configure loads the network, activate subscribes, cleanup frees the memory.

    Callbacks only queue messages. One inference thread converts them, runs the network and publishes.

    Args:
        stop: set when the process shall end. Nothing is waited for then.
        node_options: of rclpy's LifecycleNode.

    A given value of a parameter that cannot be used is a problem until the parameter is set again. Before that,
    configure fails and names it.
    """

    def __init__(self, stop: threading.Event | None = None, **node_options: object) -> None:
        super().__init__("perception", **node_options)  # type: ignore[arg-type]
        self._stopping = stop or threading.Event()
        self._refused = declare_parameters(self)
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
        self._info_subscriptions: dict[str, Subscription] = {}
        self._classes = ClassTable()
        self._label_info: Publisher | None = None
        self._enabled = True
        self._problem: str | None = self._given_problem()
        self._warning: str | None = None
        self._failure: str | None = None
        self._ignored: dict[str, str] = {}
        self._announcer = Announcer()
        self._restart_time = float("inf")
        self._lazy_timer: Timer | None = None
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
        for sentence in files_without_node(self, sys.argv):
            self._ignored[sentence] = sentence
            self.get_logger().warning(sentence)
        self._tell_of_ignored(qos=False)
        if self._problem is not None and not self.get_parameter("autostart").value:
            self.get_logger().error(self._problem)

    # Lifecycle

    def start(self) -> None:
        """Configure and activate."""
        if self.trigger_configure() == Success:
            self.trigger_activate()

    @_explained
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

    @_explained
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the cameras and start the inference thread."""
        result = super().on_activate(state)
        if result != Success:
            return result
        try:
            values = self._values()
            self._inference.start(self._cameras.values(), thread_count(values), values["max_image_pixels"])
            for camera in self._cameras.values():
                self._listen(camera)
                take = partial(self._on_carried_input, camera)
                self._label_subscriptions[camera.name] = subscribe_to_labels(self, camera, partial(take, camera.labels))
                detections = subscribe_to_detections(self, camera, partial(take, camera.detections))
                if detections is not None:
                    self._detection_subscriptions[camera.name] = detections
        except (ValueError, RuntimeError) as error:
            self._problem = f"activate failed: {error}"
            return TransitionCallbackReturn.ERROR
        if values["lazy"]:
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._lazy_timer = self.create_timer(_LAZY_POLL, self._rest_or_wake, clock=steady)
        self._tell_of_ignored(qos=True)
        topics = ", ".join(s.topic_name for s in self._image_subscriptions.values())
        self.get_logger().info(f"active, waiting for images on {topics}")
        return result

    @_explained
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, stop the inference thread and empty all memories. If the device has failed, this is an error."""
        self._stop()
        if self._failure is not None:
            self._problem, self._failure = self._failure, None
            return TransitionCallbackReturn.ERROR
        return super().on_deactivate(state)

    @_explained
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free network and outputs."""
        self._release()
        return super().on_cleanup(state)

    @_explained
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

    def _given_problem(self) -> str | None:
        """The sentences about given values that cannot be used; None if there are none."""
        overrides = {name: parameter.value for name, parameter in self._parameter_overrides.items()}
        problems = [*self._refused.values(), override_refusal(overrides)]
        return "; ".join(problem for problem in problems if problem) or None

    def _configure(self) -> None:
        problem = self._given_problem()
        if problem is not None:
            raise ValueError(problem)
        value = self._values()
        cameras = list(value["cameras"])
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
            camera.depth.significant = value["significant_bits"]
            self._outputs[name] = {topic: advertise(self, camera, topic, kind) for topic, kind in TOPICS.items()}
            self._outputs[name]["camera_info"] = advertise(self, camera, "camera_info", CameraInfo)
            self._outputs[name] |= advertise_detections(self, camera)

    def _tell_of_ignored(self, qos: bool) -> None:
        """Warn of given parameters that are ignored; those of QoS are known when all topics have been made."""
        for name, sentence in ignored_parameters(self).items():
            if name.startswith("qos_overrides.") is qos and name not in self._ignored:
                self._ignored[name] = sentence
                self.get_logger().warning(sentence)

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
        self.get_logger().info(f"network: {network.summary}; /diagnostics has the details")

    def _subscribe(self, camera: Camera) -> Subscription:
        network = self._inference.active
        assert network is not None
        made_for, shown = (network, network.event_image) if network.takes_packets else (None, None)
        subscription = subscribe_to_frames(self, camera, shown, partial(self._on_image, camera, made_for))
        camera.image_topic = subscription.topic_name
        return subscription

    def _listen(self, camera: Camera) -> None:
        """Subscribe to the images and to the camera_info of a camera."""
        camera.wake_up()
        self._image_subscriptions[camera.name] = images = self._subscribe(camera)
        topic = images.topic_name.removesuffix("/compressed")
        self._info_subscriptions[camera.name] = subscribe_to_camera_info(self, camera, topic)

    def _rest_or_wake(self) -> None:
        """With the parameter lazy: unsubscribe from cameras whose outputs nobody wants, and from no others."""
        now = time.monotonic()
        for camera in self._cameras.values():
            # Labels and detections that come are carried from frame to frame. None may be lost while nobody looks.
            carried = (self._label_subscriptions[camera.name], self._detection_subscriptions.get(camera.name))
            comes = any(each is not None and self.count_publishers(each.topic_name) > 0 for each in carried)
            wanted = comes or any(map(is_wanted, self._outputs[camera.name].values()))
            awake = camera.name in self._image_subscriptions
            if wanted and awake:
                camera.last_wanted = now
            elif wanted:
                self.get_logger().info(f"awake, waiting for images on {camera.image_topic}")
                self._inference.reset("asleep", camera.name)
                self._listen(camera)
            elif awake and now - camera.last_wanted > _LAZY_AFTER:
                for subscriptions in (self._image_subscriptions, self._info_subscriptions):
                    self.destroy_subscription(subscriptions.pop(camera.name))
                camera.is_asleep = True
                camera.drop_waiting("asleep")
                self.get_logger().info(f"asleep: nobody subscribes to the outputs for {camera.image_topic}")

    def _stop(self) -> None:
        self._inference.stop()  # First: its thread uses the subscriptions.
        if self._lazy_timer is not None:
            self.destroy_timer(self._lazy_timer)
            self._lazy_timer = None
        for subscriptions in (
            self._image_subscriptions,
            self._info_subscriptions,
            self._label_subscriptions,
            self._detection_subscriptions,
        ):
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

    def _on_carried_input(self, camera: Camera, carried: CarriedInput[Any], message: Any) -> None:
        if camera.is_asleep or not self._enabled:
            carried.ignore("asleep" if camera.is_asleep else "disabled")
        else:
            carried.put(message)

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
        for parameter in parameters:
            self._refused.pop(parameter.name, None)
        active, names = self._inference.active, {parameter.name for parameter in parameters}
        if active is None:
            return
        for name in names & {"max_gap", "horizon"}:
            setattr(active.predictor, name, self.get_parameter(name).value)
        for camera in self._cameras.values():
            camera.depth.significant = self.get_parameter("significant_bits").value
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
        warning = (
            self._warning or clock_problem(self) or name_problem(self) or "; ".join(self._ignored.values()) or None
        )
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
                if camera.info is None and is_wanted(self._outputs[camera.name]["camera_info"]):
                    info = self._info_subscriptions[camera.name]
                    carried_problem = carried_problem or camera_info_problem(self, info)
                statuses.append(
                    camera_status(
                        name, camera, subscription.topic_name, problem, carried_problem, enabled=self._enabled
                    )
                )
            elif camera.is_asleep:
                statuses.append(camera_status(name, camera, camera.image_topic, None, None, enabled=self._enabled))
        self._announce(statuses)
        self._diagnostics.publish(diagnostic_array(self.get_clock().now().to_msg(), statuses))

    def _announce(self, statuses: list[DiagnosticStatus]) -> None:
        """Log what /diagnostics warns of, unless that was logged when it happened."""
        logged = {self._problem, self._warning, "; ".join(self._ignored.values())}
        sentences = [s.message for s in statuses if s.level != DiagnosticStatus.OK and s.message not in logged]
        self._announcer.show(time.monotonic(), dict.fromkeys(sentences), self.get_logger().warning)

    # Called on the inference thread

    def _on_failure(self, reason: str) -> None:
        self._failure = reason
        self._from_threads.trigger()

    def _deliver(
        self, camera: Camera, network: ActiveNetwork, motion: StepResult, message: Image | CompressedImage
    ) -> float:
        labels = self._label_subscriptions.get(camera.name)
        detections = self._detection_subscriptions.get(camera.name)
        self._advance(camera, camera.labels, "segmentation", labels, motion, self._inference.segmenter is not None)
        self._advance(camera, camera.detections, "detections", detections, motion)
        start = time.monotonic()
        self._publish(camera, network, motion, message.header)
        return time.monotonic() - start

    def _advance(
        self,
        camera: Camera,
        carried: CarriedInput[Any],
        topic: str,
        subscription: Subscription | None,
        motion: StepResult,
        has_own_source: bool = False,
    ) -> None:
        """Carry labels or detections to the new frame, once there is a source of them."""
        if subscription is None:
            return
        if has_own_source or carried.received or self.count_publishers(subscription.topic_name):
            for problem in carried.advance(motion):
                camera.complain(problem, subscription.topic_name)
                self.get_logger().warning(f"{camera.topic(topic)}: {problem}", throttle_duration_sec=5.0)

    def _publish(self, camera: Camera, network: ActiveNetwork, motion: StepResult, header: Header) -> None:
        publishers = self._outputs[camera.name]
        wanted = [topic for topic in TOPICS if is_wanted(publishers[topic])]
        values = self._values()
        events = network.input_of(camera.name).events
        events.set_model(event_model(values))
        context = camera.state.advance(
            motion,
            outputs_of(wanted),
            self._classes,
            events,
            float(values["flow_color_max"]),
            values["flow_units"] == "second",
        )
        headers = [header]
        for name, message in messages(context, wanted, header, values["compressed_format"]):
            publishers[name].publish(message)
            headers.append(message.header)
        headers += self._publish_detections(camera, motion, header)
        if is_wanted(publishers["camera_info"]):
            self._publish_camera_info(camera, publishers["camera_info"], headers, motion.image.shape[:2])

    def _publish_detections(self, camera: Camera, motion: StepResult, header: Header) -> list[Header]:
        """Publish the carried detections, if there are some and they are wanted. Returns the header of the messages."""
        publishers = self._outputs[camera.name]
        wanted = {name for name in ("detections", "detections_color") if name in publishers}
        wanted = {name for name in wanted if is_wanted(publishers[name])}
        message = camera.detections.message(motion, header) if wanted else None
        if message is None:
            return []
        if "detections" in wanted:
            publishers["detections"].publish(message)
        if "detections_color" in wanted:
            publishers["detections_color"].publish(camera.detections.drawn(motion, message))
        return [message.header]

    def _publish_camera_info(
        self, camera: Camera, publisher: LifecyclePublisher, headers: list[Header], size: tuple[int, ...]
    ) -> None:
        """Publish the camera_info of the driver with each header, unless it is for images of another size."""
        subscription, info = self._info_subscriptions.get(camera.name), camera.info
        if subscription is None or info is None:
            return
        problem = mismatch(info, *size)
        if problem:
            camera.complain(problem, subscription.topic_name)
            self.get_logger().warning(f"{subscription.topic_name}: {problem}", throttle_duration_sec=5.0)
            return
        for message in camera_info_messages(info, headers):
            publisher.publish(message)


def main() -> None:
    """Run the node until SIGINT or SIGTERM."""
    with Stop() as stop:
        _run(stop)
    end_process()


def _run(stop: Stop) -> None:
    with ros("perception_node"):
        node = PerceptionNode(stop)
        try:
            if node.get_parameter("autostart").value:
                node.start()
            stop.spin(node)
        finally:
            node.close()
            node.destroy_node()


if __name__ == "__main__":
    main()
