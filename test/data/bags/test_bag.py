"""Reader and writer of rosbags, whole and damaged."""

from __future__ import annotations

import shutil
import sqlite3
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from checkout import ROOT

from stvae_ros.cli.main import main
from stvae_ros.data.scenes.scene3d import Scene3D

# Not importorskip: the launch plugin of pytest imports every module and would skip the whole folder.
if any(find_spec(name) is None for name in ("rosbags", "mcap", "zstandard")):
    pytestmark = pytest.mark.skip(reason="needs rosbags, mcap and zstandard: pip install '.[bags]'")
else:
    from bags import MS, PERIOD, START, scene_images, write_bag
    from mcap.data_stream import RecordBuilder
    from mcap.reader import make_reader
    from mcap.records import Channel, DataEnd, Footer, Header, Message, Schema
    from mcap.writer import IndexType
    from mcap.writer import Writer as McapWriter
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    from stvae_ros.data.bags.bag import Bag, BagError
    from stvae_ros.data.bags.writer import BagWriter
    from stvae_ros.data.image_messages import floats_to_array

SHARED = ROOT.parent / "shared" / "data"
CAMERA = "/camera/image_raw"


def hard_case(name: str) -> Path:
    if not (SHARED / "bags" / name).exists():
        pytest.skip(f"the recording {name} is not published with this package; it is not there")
    return SHARED / "bags" / name


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("alone", [False, True], ids=["folder", "file"])
def test_a_written_bag_is_read_back(tmp_path: Path, storage: str, alone: bool) -> None:
    images = scene_images(5)
    path = write_bag(tmp_path / "bag", images, storage)
    metadata = yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert metadata["storage_identifier"] == storage and metadata["message_count"] == 5
    bag = Bag(next(path.glob("bag.*")) if alone else path)
    assert bag.cameras() == [CAMERA] and bag.name == "bag"
    assert (bag.start, bag.end) == (START + MS, START + 4 * PERIOD + MS)
    found = list(bag.images(CAMERA))
    assert [(f.stamp, f.time, f.frame_id) for f in found] == [
        (START + i * PERIOD, START + i * PERIOD + MS, "lens") for i in range(5)
    ]
    for image, frame in zip(images, found, strict=True):
        np.testing.assert_array_equal(frame.image, image)
    part = bag.images(CAMERA, START + PERIOD, START + 3 * PERIOD)
    assert [f.stamp for f in part] == [START + PERIOD, START + 2 * PERIOD]
    assert bag.problems == [] and [p.name for p in tmp_path.iterdir()] == ["bag"]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_rosbag2_can_play_a_written_bag(tmp_path: Path, storage: str) -> None:
    """The checks follow yaml.hpp, metadata_io.cpp, qos.cpp and the storage plugins of Humble, Iron and Jazzy."""
    with BagWriter(tmp_path / "bag", storage, compress=True) as writer:  # type: ignore[arg-type]
        writer.write(CAMERA, scene_images(1)[0], "bgr8", START, "lens")
        writer.write("/flow", np.ones((2, 3, 2), np.float32), "32FC2", START, "lens")
    (file,) = tmp_path.glob("bag/bag.*")
    whole = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    if storage == "sqlite3":
        with sqlite3.connect(file) as database:
            ((version, text),) = database.execute("SELECT metadata_version, metadata FROM metadata ORDER BY id")
            columns = "name, type, serialization_format, offered_qos_profiles, type_description_hash"
            topics = database.execute(f"SELECT id, {columns} FROM topics ORDER BY id").fetchall()
            definitions = "topic_type, encoding, encoded_message_definition, type_description_hash"
            defined = database.execute(f"SELECT {definitions} FROM message_definitions ORDER BY id").fetchall()
            messages = "SELECT data, timestamp, topics.name, messages.id FROM messages JOIN topics"
            played = database.execute(f"{messages} ON messages.topic_id = topics.id ORDER BY messages.timestamp")
            assert [name for _, _, name, _ in played] == [CAMERA, "/flow"]
            assert database.execute("SELECT schema_version, ros_distro FROM schema").fetchall() == [(4, "rosbags")]
        database.close()
        profiles, named = [topic[4] for topic in topics], [(kind, encoding) for kind, encoding, *_ in defined]
        assert version == whole["version"]
    else:
        with file.open("rb") as opened:
            summary = make_reader(opened).get_summary()
            (record,) = make_reader(opened).iter_metadata()
        text = record.metadata["serialized_metadata"]
        assert record.name == "rosbag2" and summary.statistics.message_count == 2
        assert all(chunk.message_index_length for chunk in summary.chunk_indexes), (
            "without an index, play uses another order"
        )
        profiles = [channel.metadata["offered_qos_profiles"] for channel in summary.channels.values()]
        named = [(schema.name, schema.encoding) for schema in summary.schemas.values()]
    assert yaml.safe_load(text) == whole and named == [("sensor_msgs/msg/Image", "ros2msg")]
    assert whole["version"] == 8, "Humble and Iron need QoS as a string, which ends with version 8"
    assert (whole["compression_format"], whole["compression_mode"]) == ("", ""), "otherwise play decompresses"
    assert whole["relative_file_paths"] == [file.name] == [entry["path"] for entry in whole["files"]]
    assert whole["custom_data"] is None and isinstance(whole["ros_distro"], str)
    described = [topic["topic_metadata"] for topic in whole["topics_with_message_count"]]
    assert [topic["offered_qos_profiles"] for topic in described] == profiles
    assert all(topic["type_description_hash"].startswith("RIHS01_") for topic in described)
    assert {topic["serialization_format"] for topic in described} == {"cdr"}
    for profile in profiles:
        (qos,) = yaml.safe_load(profile)
        never = {"sec": 9223372036, "nsec": 854775807}
        assert [qos.pop(name) for name in ("deadline", "lifespan", "liveliness_lease_duration")] == [never] * 3
        assert qos.pop("avoid_ros_namespace_conventions") is False
        assert qos == {"history": 1, "depth": 10, "reliability": 1, "durability": 2, "liveliness": 1}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--start-time", "-5"], "a time of -5 s: rosbag2 plays no bag with times before 0"),
        (["--start-time", "1e12"], "a stamp of 1000000000000 s: ROS counts to 2147483647 s"),
    ],
)
def test_times_out_of_range_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    command = ["bag", "make", "synthetic:1", str(tmp_path / "bag"), "--frames", "2", "--size", "96", "64"]
    assert main([*command, *options]) == 2 and says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_compressed_images(tmp_path: Path) -> None:
    images = scene_images(2)
    bag = Bag(write_bag(tmp_path / "bag", images, jpeg=True))
    assert bag.cameras() == [f"{CAMERA}/compressed"]
    for image, frame in zip(images, bag.images(f"{CAMERA}/compressed"), strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < 4


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("mode", ["FILE", "MESSAGE"])
@pytest.mark.parametrize("described", [True, False], ids=["metadata", "bare"])
def test_compressed_bags(tmp_path: Path, storage: str, mode: str, described: bool) -> None:
    plain = write_bag(tmp_path / "plain", scene_images(3))
    store = get_typestore(Stores.ROS2_JAZZY)
    plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
    writer = Writer(tmp_path / "bag", version=9, storage_plugin=plugin)
    writer.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection(CAMERA, "sensor_msgs/msg/Image", typestore=store)
        for message in Bag(plain).messages([CAMERA]):
            writer.write(connection, message.time, store.serialize_cdr(message.message, message.kind))
    if not described:
        (tmp_path / "bag" / "metadata.yaml").unlink()
    bag = Bag(tmp_path / "bag")
    assert [f.stamp for f in bag.images(CAMERA)] == [START + i * PERIOD for i in range(3)]
    assert bag.problems == []


@pytest.mark.parametrize("described", [True, False], ids=["metadata", "bare"])
def test_split_bags_come_in_order(tmp_path: Path, described: bool) -> None:
    folder = tmp_path / "bag"
    folder.mkdir()
    images, names = scene_images(12), []
    for number in range(12):
        with BagWriter(tmp_path / f"bag_{number}") as writer:
            writer.write(CAMERA, images[number], "bgr8", START + number * PERIOD, "lens")
        names.append(f"bag_{number}.mcap")
        shutil.move(tmp_path / f"bag_{number}" / names[-1], folder)
    if described:
        metadata = yaml.safe_load((tmp_path / "bag_0" / "metadata.yaml").read_text())
        metadata["rosbag2_bagfile_information"]["relative_file_paths"] = [*names, "bag_12.mcap"]
        (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    bag = Bag(folder)
    assert [f.stamp for f in bag.images(CAMERA)] == [START + i * PERIOD for i in range(12)]
    assert (bag.start, bag.end) == (START, START + 11 * PERIOD)
    assert len(bag.problems) == described and all("bag_12.mcap" in problem for problem in bag.problems)


@pytest.mark.parametrize("metadata", ["", "[1, 2", "rosbag2_bagfile_information: {version: 99}"])
def test_bad_metadata_is_reported_and_ignored(tmp_path: Path, metadata: str) -> None:
    path = write_bag(tmp_path / "bag", scene_images(2))
    (path / "metadata.yaml").write_text(metadata)
    bag = Bag(path)
    assert len(list(bag.images(CAMERA))) == 2
    assert len(bag.problems) == 1 and "metadata.yaml" in bag.problems[0]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_a_truncated_file_is_read_up_to_the_damage(tmp_path: Path, storage: str, share: float) -> None:
    images = scene_images(150, width=160, height=120)
    file = next(write_bag(tmp_path / "bag", images, storage).glob("bag.*"))
    with file.open("r+b") as opened:
        opened.truncate(int(share * file.stat().st_size))
    for path in (file, file.parent):
        bag = Bag(path)
        found = list(bag.images(CAMERA))
        assert 0.7 * share * 150 <= len(found) < 150
        for image, frame in zip(images, found, strict=False):
            np.testing.assert_array_equal(frame.image, image)
        (problem,) = bag.problems
        assert str(file) in problem and CAMERA in problem and "everything before is used" in problem


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_damage_in_the_middle(tmp_path: Path, storage: str) -> None:
    file = next(write_bag(tmp_path / "bag", scene_images(150), storage).glob("bag.*"))
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40_000] = bytes([255]) * 40_000
    file.write_bytes(data)
    bag = Bag(file)
    assert len(list(bag.images(CAMERA))) > 30


@pytest.mark.parametrize(
    "content",
    [b"", b"#ROSBAG V2.0\n", b"something else", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n"],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bag.mcap").write_bytes(content)
    says = r"bag\.mcap.*git lfs pull" if b"git-lfs" in content else r"bag\.mcap"
    with pytest.raises(BagError, match=says):
        Bag(tmp_path / "bag.mcap")
    with pytest.raises(BagError, match=r"bag\.mcap"):
        Bag(tmp_path)
    with pytest.raises(BagError, match="no such bag"):
        Bag(tmp_path / "absent")


@pytest.mark.parametrize(
    "repeated", [(False, False), (True, False), (False, True)], ids=["none", "channels", "schemas"]
)
@pytest.mark.parametrize("statistics", [True, False], ids=["statistics", "no statistics"])
@pytest.mark.parametrize("index", ["ALL", "CHUNK", "MESSAGE", "NONE"])
@pytest.mark.parametrize("chunks", [True, False], ids=["chunks", "no chunks"])
def test_every_layout_of_an_mcap_file(
    tmp_path: Path, repeated: tuple[bool, bool], statistics: bool, index: str, chunks: bool
) -> None:
    """The options of rosbag2's writer leave schemas, channels, statistics and indexes out of the summary."""
    source = next(write_bag(tmp_path / "bag", scene_images(4)).glob("bag.*"))
    with source.open("rb") as opened, (tmp_path / "other.mcap").open("wb") as written:
        writer = McapWriter(
            written,
            chunk_size=20_000,
            repeat_channels=repeated[0],
            repeat_schemas=repeated[1],
            use_statistics=statistics,
            index_types=IndexType[index],
            use_chunking=chunks,
        )
        writer.start("ros2")
        channels = {}
        for schema, channel, message in make_reader(opened).iter_messages():
            if channel.topic not in channels:
                schema_id = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[channel.topic] = writer.register_channel(channel.topic, channel.message_encoding, schema_id)
            writer.add_message(channels[channel.topic], message.log_time, message.data, message.publish_time)
        writer.finish()
    bag = Bag(tmp_path / "other.mcap")
    assert bag.cameras() == [CAMERA] and (bag.start, bag.end) == (START + MS, START + 3 * PERIOD + MS)
    assert [frame.stamp for frame in bag.images(CAMERA)] == [START + index * PERIOD for index in range(4)]
    assert bag.problems == []


def test_schemas_and_channels_in_the_summary_only(tmp_path: Path) -> None:
    (message,) = Bag(write_bag(tmp_path / "bag", scene_images(1))).messages([CAMERA])
    store = get_typestore(Stores.ROS2_JAZZY)
    data = bytes(store.serialize_cdr(message.message, message.kind))
    magic, builder = b"\x89MCAP0\r\n", RecordBuilder()
    Header(profile="ros2", library="test").write(builder)
    Message(channel_id=1, log_time=START, data=data, publish_time=START, sequence=0).write(builder)
    DataEnd(data_section_crc=0).write(builder)
    body = magic + builder.end()
    Schema(id=1, data=b"", encoding="ros2msg", name="sensor_msgs/msg/Image").write(builder)
    Channel(id=1, topic=CAMERA, message_encoding="cdr", metadata={}, schema_id=1).write(builder)
    Footer(summary_start=len(body), summary_offset_start=0, summary_crc=0).write(builder)
    (tmp_path / "summary.mcap").write_bytes(body + builder.end() + magic)
    bag = Bag(tmp_path / "summary.mcap")
    assert [frame.time for frame in bag.images(CAMERA)] == [START] and bag.problems == []


def test_cameras_are_chosen_by_encoding_and_the_others_are_named(tmp_path: Path) -> None:
    grey, deep = np.zeros((16, 20), np.uint8), np.zeros((16, 20), np.uint16)
    with BagWriter(tmp_path / "bag") as writer:
        for topic, encoding, array in (
            ("/camera/color/image_raw", "bgr8", np.dstack([grey] * 3)),
            ("/camera/infra1/image_rect_raw", "mono16", deep),
            ("/camera/depth/color", "mono8", grey),
            ("/camera/aligned_depth_to_color/image_raw", "16UC1", deep),
            ("/camera/depth/image_rect_raw", "32FC1", deep.astype(np.float32)),
            ("/camera/cmyk", "cmyk8", np.dstack([grey] * 3)),
            ("/perception/flow_color", "bgr8", np.dstack([grey] * 3)),
        ):
            writer.write(topic, array, encoding, START, "lens")
        writer.write_jpeg("/camera/color/image_raw/compressed", np.dstack([grey] * 3), START, "lens")
    bag = Bag(tmp_path / "bag")
    assert bag.cameras() == ["/camera/color/image_raw", "/camera/depth/color", "/camera/infra1/image_rect_raw"]
    assert bag.no_cameras == {
        "/camera/aligned_depth_to_color/image_raw": "'16UC1' is depth or another measure, not brightness",
        "/camera/depth/image_rect_raw": "'32FC1' is depth or another measure, not brightness",
        "/camera/cmyk": "encoding 'cmyk8' is not supported",
        "/perception/flow_color": "its name is that of labels, of ground truth or of an output of the node",
        "/camera/color/image_raw/compressed": "it is a copy of /camera/color/image_raw",
    }


def test_a_topic_in_another_serialization_leaves_the_others_alone(tmp_path: Path) -> None:
    file = next(write_bag(tmp_path / "bag", scene_images(1), "sqlite3").glob("bag.*"))
    with sqlite3.connect(file) as database:
        columns = "name, type, serialization_format, offered_qos_profiles, type_description_hash"
        database.execute(f"INSERT INTO topics ({columns}) VALUES ('/old', 'sensor_msgs/msg/Image', 'ros1', '', '')")
    database.close()
    bag = Bag(file)
    assert bag.cameras() == [CAMERA] and bag.no_cameras == {"/old": "its messages are stored as 'ros1', not as cdr"}


def test_folders_that_are_no_bag_say_what_they_are(tmp_path: Path) -> None:
    for name, says in (
        ("ros1", r"old\.bag is of ROS 1: convert it"),
        ("many", "a folder of bags; give one .*: one, two"),
    ):
        (tmp_path / name).mkdir()
        if name == "many":
            for each in ("one", "two"):
                write_bag(tmp_path / name / each, scene_images(1))
        else:
            (tmp_path / name / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
        with pytest.raises(BagError, match=says):
            Bag(tmp_path / name)


def test_a_topic_without_a_schema_is_named(tmp_path: Path) -> None:
    with (tmp_path / "bag.mcap").open("wb") as written:
        writer = McapWriter(written)
        writer.start("ros2")
        writer.add_message(writer.register_channel(CAMERA, "cdr", 0), START, b"\0\1\0\0", START)
        writer.finish()
    bag = Bag(tmp_path / "bag.mcap")
    assert bag.cameras() == []
    with pytest.raises(BagError, match=f"topic {CAMERA}: the file has no schema for it"):
        next(bag.images(CAMERA))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_messages_at_time_0_do_not_stretch_the_bag(tmp_path: Path, storage: str) -> None:
    with BagWriter(tmp_path / "bag", storage) as writer:  # type: ignore[arg-type]
        for index, image in enumerate(scene_images(4)):
            time = max(index - 1, 0) and START + index * PERIOD
            writer.write(CAMERA, image, "bgr8", START + index * PERIOD, "lens", time=time)
    bag = Bag(tmp_path / "bag")
    assert (bag.start, bag.end) == (START + 2 * PERIOD, START + 3 * PERIOD)
    assert len(bag.problems) == 1 and "the first messages have the time 0" in bag.problems[0]
    assert len(list(bag.images(CAMERA))) == 4


def test_topics_without_images_are_refused(tmp_path: Path) -> None:
    file = next(write_bag(tmp_path / "bag", scene_images(2), "sqlite3").glob("bag.*"))
    with sqlite3.connect(file) as database:
        database.execute("UPDATE topics SET type = 'event_camera_msgs/msg/EventPacket'")
        database.execute("DELETE FROM message_definitions")
    database.close()
    bag = Bag(file)
    assert bag.cameras() == []
    with pytest.raises(BagError, match=f"{CAMERA}.*EventPacket.*no images"):
        next(bag.images(CAMERA))
    with pytest.raises(BagError, match="/elsewhere is not in the bag"):
        next(bag.images("/elsewhere"))


def test_missing_definitions_and_old_type_names(tmp_path: Path) -> None:
    file = next(write_bag(tmp_path / "bag", scene_images(2), "sqlite3").glob("bag.*"))
    with sqlite3.connect(file) as database:
        database.execute("UPDATE topics SET type = 'sensor_msgs/Image'")
        database.execute("DROP TABLE message_definitions")
        database.execute("UPDATE messages SET data = x'0001000001' WHERE id = 1")
    database.close()
    bag = Bag(file)
    assert [f.stamp for f in bag.images(CAMERA)] == [START + PERIOD]
    (problem,) = bag.problems
    assert CAMERA in problem and "a message" in problem


def test_encodings_through_a_bag(tmp_path: Path) -> None:
    color = cv2.blur(np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8), (5, 5))
    grey = cv2.cvtColor(color, cv2.COLOR_BGR2GRAY)
    wide = grey.astype(np.uint16) * 257
    stored = {
        "mono8": grey,
        "mono16": wide,
        "rgb8": color[..., ::-1],
        "bgra8": np.dstack([color, grey]),
        "bayer_rggb8": grey,
        "bayer_grbg16": wide,
        "yuv422_yuy2": np.dstack([grey, grey // 2 + 64]),
    }
    with BagWriter(tmp_path / "bag") as writer:
        for encoding, array in stored.items():
            writer.write(f"/{encoding}", array, encoding, START, "lens")
        writer.write("/cmyk", color, "cmyk8", START, "lens")
        writer.write("/flow", np.ones((2, 3, 2), np.float32), "32FC2", START, "lens")
    bag = Bag(tmp_path / "bag")
    for encoding in stored:
        (frame,) = bag.images(f"/{encoding}")
        is_grey = encoding.startswith("mono")
        assert frame.image.shape == (16, 20) if is_grey else frame.image.shape == (16, 20, 3)
        if encoding in ("mono8", "mono16", "rgb8", "bgra8"):
            np.testing.assert_allclose(frame.image.astype(int), grey if is_grey else color, atol=1)
    assert list(bag.images("/cmyk")) == [] and "cmyk8" in bag.problems[0]
    (flow,) = bag.messages(["/flow"])
    np.testing.assert_array_equal(floats_to_array(flow.message), np.ones((2, 3, 2)))


def test_a_failed_recording_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), BagWriter(tmp_path / "bag") as writer:
        writer.write(CAMERA, scene_images(1)[0], "bgr8", START, "lens")
        raise RuntimeError("the disk is full")
    assert list(tmp_path.iterdir()) == []
    write_bag(tmp_path / "bag", scene_images(1))
    with pytest.raises(BagError, match="already there"):
        BagWriter(tmp_path / "bag")


def test_wrong_sizes_allocate_no_memory(tmp_path: Path) -> None:
    (image,) = scene_images(1)
    with BagWriter(tmp_path / "bag") as writer:
        writer.write(CAMERA, image, "bgr8", START, "lens")
        writer.write_jpeg("/jpeg/compressed", image, START, "lens")
    bag = Bag(tmp_path / "bag")
    raw, jpeg = bag.messages([CAMERA, "/jpeg/compressed"])
    raw.message.height += 1
    assert bag.decode(raw) is None and "18432 bytes of data and needs 18720" in bag.problems[-1]
    raw.message.height = 2**31
    assert bag.decode(raw) is None and "96x2147483648 has more than 40000000 pixels" in bag.problems[-1]
    data = bytes(jpeg.message.data)
    where = data.index(b"\xff\xc0") + 5
    jpeg.message.data = np.frombuffer(data[:where] + bytes([255] * 4) + data[where + 4 :], np.uint8)
    assert bag.decode(jpeg) is None and "65535x65535 has more than" in bag.problems[-1]


@pytest.mark.parametrize("name", ["test_events_1", "test_events_2"])
def test_recordings_of_event_cameras_have_no_images(name: str) -> None:
    bag = Bag(hard_case(name))
    (topic,) = bag.topics.values()
    assert topic.kind == "event_camera_msgs/msg/EventPacket" and bag.cameras() == [] and bag.end > bag.start
    with pytest.raises(BagError, match=f"{topic.name}.*EventPacket"):
        next(bag.images(topic.name))


def test_a_recording_of_2019() -> None:
    bag = Bag(hard_case("klintan_sample"))
    assert bag.cameras() == ["/image"]
    for topic in ("/image", "/image/compressed"):
        (frame,) = bag.images(topic)
        assert frame.image.shape == (480, 640, 3)
    assert bag.problems == []


def test_bag_make_from_a_folder_with_stamps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    images = scene_images(3)
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / f"{index}.png"), image)
    stamps = [1669759848926, 1669759848978, 1669759849026]
    lines = "".join(f'{{"t": {stamp}, "angle": 0.5}}\n' for stamp in stamps)
    (tmp_path / "stamps.jsonl").write_text(lines)
    command = ["bag", "make", str(folder), str(tmp_path / "bag"), "--stamps", str(tmp_path / "stamps.jsonl")]
    assert main(command) == 2 and "say which field" in capsys.readouterr().err
    assert main([*command, "--stamp-field", "t", "--stamp-unit", "ms", "--storage", "sqlite3"]) == 0
    found = list(Bag(tmp_path / "bag").images(CAMERA))
    assert [f.stamp for f in found] == [stamp * MS for stamp in stamps]
    np.testing.assert_array_equal(found[2].image, images[2])
    (tmp_path / "few.txt").write_text("1.5\n2.000000001\n")
    assert main([*command[:3], str(tmp_path / "other"), "--stamps", str(tmp_path / "few.txt")]) == 2
    assert "2 stamps" in capsys.readouterr().err and not (tmp_path / "other").exists()


def test_bag_make_of_a_scene_has_ground_truth(tmp_path: Path) -> None:
    path = tmp_path / "bag"
    assert main(["bag", "make", "synthetic:4", str(path), "--frames", "3", "--size", "96", "64", "--rate", "20"]) == 0
    bag = Bag(path)
    assert set(bag.topics) == {CAMERA, "/camera/ground_truth/flow", "/camera/ground_truth/labels"}
    assert bag.cameras() == [CAMERA]
    np.testing.assert_array_equal([f.image for f in bag.images(CAMERA)], scene_images(3))
    flows = [floats_to_array(m.message) for m in bag.messages(["/camera/ground_truth/flow"])]
    assert flows[0].shape == (64, 96, 2) and np.abs(flows[0]).max() > 0.5


def test_bag_make_of_a_3d_scene_has_depth_and_calibration_too(tmp_path: Path) -> None:
    path = tmp_path / "bag"
    assert main(["bag", "make", "scene3d:7", str(path), "--frames", "2", "--size", "96", "64", "--rate", "10"]) == 0
    bag, scene = Bag(path), Scene3D(7, 96, 64, rate=10)
    truths = {f"/camera/ground_truth/{name}" for name in ("flow", "labels", "depth")}
    assert set(bag.topics) == {CAMERA, "/camera/camera_info", *truths}
    assert bag.cameras() == [CAMERA]
    np.testing.assert_array_equal([f.image for f in bag.images(CAMERA)], [scene.frame(t) for t in range(2)])
    for name in ("flow", "depth"):
        (first, _) = (floats_to_array(m.message) for m in bag.messages([f"/camera/ground_truth/{name}"]))
        truth = scene.truth(0)
        np.testing.assert_array_equal(first, truth.depth if name == "depth" else truth.forward_flow)
    info = next(iter(bag.messages(["/camera/camera_info"], kinds=("sensor_msgs/msg/CameraInfo",)))).message
    assert (info.width, info.height, info.distortion_model) == (96, 64, "plumb_bob")
    np.testing.assert_array_equal(info.k.reshape(3, 3), scene.intrinsics)
    np.testing.assert_array_equal(info.p.reshape(3, 4)[:, :3], scene.intrinsics)
