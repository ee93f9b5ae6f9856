"""Writer of rosbag2 recordings of images without ROS; `ros2 bag play` plays them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.data.bags.bag import COMPRESSED, IMAGE, BagError, require_bag_packages

_JPEG_QUALITY = 95
_CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
_SECONDS = 2**31
"""Number of seconds that a ROS stamp can count."""
StorageName = Literal["mcap", "sqlite3"]


class BagWriter:
    """A context that writes a bag: a folder with one file and metadata.yaml.

    The bag is written into a hidden folder, and moved to its place when the block ends. If the block raises, nothing
    remains.
    """

    def __init__(self, path: str | Path, storage: StorageName = "mcap", compress: bool = False) -> None:
        """Checks that the place is free.

        Args:
            path: folder of the bag.
            storage: format of the file.
            compress: compress the chunks of an MCAP file by zstd.

        Raises:
            BagError: the folder exists, or a package is missing.
        """
        require_bag_packages()
        self.path = Path(path)
        if self.path.exists():
            raise BagError(f"{self.path} is already there: remove it, or give another name")
        self._hidden = self.path.parent / f".{self.path.name}.part"
        self._storage, self._compress = storage, compress
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> BagWriter:
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
        from rosbags.typesys import Stores, get_typestore

        shutil.rmtree(self._hidden, ignore_errors=True)
        plugin = StoragePlugin.MCAP if self._storage == "mcap" else StoragePlugin.SQLITE3
        # Version 8, since Humble and Iron cannot read the QoS of version 9. The file is named like its folder.
        self._writer = Writer(self._hidden / self.path.name, version=8, storage_plugin=plugin)
        if self._compress and self._storage == "mcap":
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self._types = get_typestore(Stores.ROS2_HUMBLE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)
        if kind is None:
            (self._hidden / self.path.name).rename(self.path)
        shutil.rmtree(self._hidden, ignore_errors=True)

    def write(
        self, topic: str, array: NDArray[Any], encoding: str, stamp: int, frame_id: str, time: int | None = None
    ) -> None:
        """Writes a raw image.

        Args:
            topic: name of the topic.
            array: (H, W) or (H, W, C).
            encoding: encoding of sensor_msgs/Image.
            stamp: stamp of the header in nanoseconds.
            frame_id: frame id of the header.
            time: time of recording in nanoseconds; None takes the stamp.

        Raises:
            BagError: the stamp or the time is out of the range of ROS.
        """
        array = np.ascontiguousarray(array)
        message = self._types.types[IMAGE](
            header=self._header(stamp, frame_id),
            height=array.shape[0],
            width=array.shape[1],
            encoding=encoding,
            is_bigendian=int(sys.byteorder == "big"),
            step=array.strides[0],
            data=array.reshape(-1).view(np.uint8),
        )
        self._write(topic, IMAGE, message, stamp if time is None else time)

    def write_jpeg(
        self, topic: str, image: NDArray[np.uint8], stamp: int, frame_id: str, time: int | None = None
    ) -> None:
        """Writes a JPEG image.

        Args:
            topic: name of the topic, which should end in /compressed.
            image: (H, W) grey or (H, W, 3) BGR uint8.
            stamp: stamp of the header in nanoseconds.
            frame_id: frame id of the header.
            time: time of recording in nanoseconds; None takes the stamp.

        Raises:
            BagError: the stamp or the time is out of the range of ROS.
        """
        data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))[1].reshape(-1)
        encoding = "mono8" if image.ndim == 2 else "bgr8"
        header, name = self._header(stamp, frame_id), f"{encoding}; jpeg compressed {encoding}"
        message = self._types.types[COMPRESSED](header=header, format=name, data=data)
        self._write(topic, COMPRESSED, message, stamp if time is None else time)

    def write_camera_info(
        self, topic: str, image: NDArray[Any], intrinsics: NDArray[np.float64], stamp: int, frame_id: str
    ) -> None:
        """Writes the calibration of a pinhole camera.

        Args:
            topic: name of the topic.
            image: an image of the camera, (H, W) or (H, W, C).
            intrinsics: 3x3 matrix in pixels.
            stamp: stamp of the header in nanoseconds, also the time of recording.
            frame_id: frame id of the header.

        Raises:
            BagError: the stamp is out of the range of ROS.
        """
        roi = self._types.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        message = self._types.types[_CAMERA_INFO](
            header=self._header(stamp, frame_id),
            height=image.shape[0],
            width=image.shape[1],
            distortion_model="plumb_bob",
            d=np.zeros(5),
            k=intrinsics.ravel(),
            r=np.eye(3).ravel(),
            p=np.concatenate([intrinsics, np.zeros((3, 1))], axis=1).ravel(),
            binning_x=0,
            binning_y=0,
            roi=roi,
        )
        self._write(topic, _CAMERA_INFO, message, stamp)

    def _header(self, stamp: int, frame_id: str) -> Any:
        types = self._types.types
        seconds, nanoseconds = divmod(stamp, 1_000_000_000)
        if not -_SECONDS <= seconds < _SECONDS:
            raise BagError(f"a stamp of {seconds} s: ROS counts to {_SECONDS - 1} s; is it given in another unit?")
        time = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
        return types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)

    def _write(self, topic: str, kind: str, message: Any, time: int) -> None:
        if time < 0:
            raise BagError(f"a time of {time / 1e9:g} s: rosbag2 plays no bag with times before 0")
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=self._types, offered_qos_profiles=[_offered_qos()]
            )
        self._writer.write(self._connections[topic], time, self._types.serialize_cdr(message, kind))


def _offered_qos() -> Any:
    """QoS that `ros2 bag play` offers: reliable, depth 10."""
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    never = QosTime(9223372036, 854775807)
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=10,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.VOLATILE,
        deadline=never,
        lifespan=never,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=never,
        avoid_ros_namespace_conventions=False,
    )
