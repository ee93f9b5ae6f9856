"""Readers of event-camera recordings, and decoders of event packets."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from checkout import ROOT

from stvae_ros.cli.main import main
from stvae_ros.data.media import MediaError
from stvae_ros.events.arrays import Events
from stvae_ros.events.packets import PacketDecoder
from stvae_ros.events.readers import is_event_file, open_events

REAL = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the recordings in {REAL}")
HEIGHT, WIDTH = 48, 64


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is None, reason=f"needs {package}: pip install '.[events]'")


def words_of(seed: int, count: int, evt3: bool) -> np.ndarray:
    """A random stream of words, with unknown words in between."""
    rng = np.random.default_rng(seed)
    shared, single, base, low, high = (0, 2, 3, 6, 8) if evt3 else (2, 3, 4, 1, 0)
    vectors, others = ([4, 5], [7, 10, 14, 15]) if evt3 else ([5], [])
    words, time = [], 4090 << 12
    for _ in range(count):
        kind = rng.choice(["shared", "single", "base", "vector", "low", "high", "other"])
        time += int(rng.integers(0, 3000))
        value = int(rng.integers(0, 70)) | int(rng.integers(0, 2)) << 11
        code = {"shared": shared, "single": single, "base": base, "low": low, "high": high}.get(kind)
        if kind == "vector":
            code, value = int(rng.choice(vectors)), int(rng.integers(0, 4096))
        elif kind == "other":
            if not others:
                continue
            code = int(rng.choice(others))
        elif kind == "low":
            value = time & 0xFFF
        elif kind == "high":
            value = (time >> 12) & 0xFFF
        words.append(code << 12 | value)
    return np.array(words, "<u2")


def slowly(packets: list[np.ndarray], evt3: bool, bases: list[int]) -> list[tuple[int, int, int, bool]]:
    """Decodes word by word; returns (t, x, y, polarity)."""
    found = []
    shared = base = polarity = turns = 0
    low = high = None
    codes = {0: "shared", 2: "single", 3: "base", 4: "v12", 5: "v8", 6: "low", 8: "high"}
    if not evt3:
        codes = {2: "shared", 3: "single", 4: "base", 5: "v8", 1: "low", 0: "high"}
    for packet, time_base in zip(packets, bases, strict=True):
        if not evt3:
            low = high = 0
        part = []
        for word in packet.tolist():
            kind, value = codes.get(word >> 12), word & 0xFFF
            emitted: list[tuple[int, int]] = []
            if kind == "shared":
                shared = value & 0x7FF
            elif kind == "single":
                emitted = [(value & 0x7FF, value >> 11)]
            elif kind == "base":
                base, polarity = value & 0x7FF, value >> 11
            elif kind in ("v8", "v12"):
                width = int(kind[1:])
                emitted = [(base + bit, polarity) for bit in range(width) if value >> bit & 1]
                base += width
            elif kind == "low":
                low = value if high is not None else None
            elif kind == "high":
                turns += int(evt3 and high is not None and value < high - 2048)
                high = value
            for along, on in emitted:
                x, y = (along, shared) if evt3 else (shared, along)
                if low is not None and high is not None and x < WIDTH and y < HEIGHT:
                    part.append((time_base + 1000 * ((high + 4096 * turns) << 12 | low), x, y, bool(on)))
        found += sorted(part, key=lambda event: event[0])
    return found


@pytest.mark.parametrize("evt3", [True, False], ids=["evt3", "libcaer_cmp"])
def test_decoders_equal_the_slow_reference(evt3: bool) -> None:
    words = words_of(5, 6000, evt3)
    packets = np.split(words, [3, 50, 51, 2000, 2000, 5000])
    bases = [0 if evt3 else 1_700_000_000_000_000_000 + k * 10**9 for k in range(len(packets))]
    decoder = PacketDecoder("evt3" if evt3 else "libcaer_cmp", HEIGHT, WIDTH)
    made = Events.join(decoder.decode(p.tobytes(), base) for p, base in zip(packets, bases, strict=True))
    expected = slowly(packets, evt3, bases)
    assert len(expected) > 2000 and (not evt3 or expected[-1][0] > 1000 << 24), "the time wraps around"
    assert list(zip(made.t.tolist(), made.x.tolist(), made.y.tolist(), made.polarity.tolist(), strict=True)) == expected


def test_libcaer_records() -> None:
    def record(x: int, y: int, on: int, time: int) -> list[int]:
        return [x << 17 | y << 2 | on << 1 | 1, time]

    data = np.array([*record(3, 5, 1, 10), *record(63, 47, 0, 2**31 - 1), *record(64, 0, 1, 1), *record(1, 2, 0, 2)])
    events = PacketDecoder("libcaer", HEIGHT, WIDTH).decode(data.astype("<u4").tobytes() + b"half", 7)
    assert events.t.tolist() == [10_007, 1000 * (2**31 - 1) + 7, 1000 * (2**31 + 2) + 7]
    assert (events.x.tolist(), events.y.tolist()) == ([3, 63, 1], [5, 47, 2])
    assert events.polarity.tolist() == [True, False, False]
    with pytest.raises(MediaError, match=r"'mono'.*evt3, libcaer_cmp, libcaer"):
        PacketDecoder("mono", HEIGHT, WIDTH)
    assert len(PacketDecoder("evt3", HEIGHT, WIDTH).decode(b"")) == 0


def check(path: Path, height: int, width: int, t: list[int]) -> None:
    recording = open_events(path)
    events = Events.join(recording.read())
    assert (recording.height, recording.width) == (height, width) and events.t.tolist() == t
    assert (events.x.tolist(), events.y.tolist()) == ([1, 5, 2], [0, 3, 2])
    assert events.polarity.tolist() == [True, False, True]
    assert len(Events.join(recording.read())) == 3, "it can be read again"


def test_text(tmp_path: Path) -> None:
    path = tmp_path / "events.txt"
    path.write_text("0.5 1 0 1\n1.000000001 5 3 0\n2.0 2 2 1\n")
    check(path, 4, 6, [500_000_000, 1_000_000_001, 2_000_000_000])
    path.write_text("240 180\n10,1,0,1\n20,5,3,-1\n\n30,2,2,1\n")
    check(path, 180, 240, [10_000, 20_000, 30_000])
    path.write_text("1.0 2 3 1\n1.1 2 three 1\n")
    with pytest.raises(MediaError, match="t x y p"):
        open_events(path)
    path.write_text("")
    with pytest.raises(MediaError, match="no events"):
        open_events(path)


@needs("h5py")
def test_hdf5_of_dsec_and_mvsec(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "dsec.h5", "w") as file:
        for name, values in {"t": [10, 20, 30], "x": [1, 5, 2], "y": [0, 3, 2], "p": [1, 0, 1]}.items():
            file[f"events/{name}"] = np.array(values, np.uint32)
        file["t_offset"] = 1_000_000
    check(tmp_path / "dsec.h5", 480, 640, [1_000_010_000, 1_000_020_000, 1_000_030_000])
    with h5py.File(tmp_path / "mvsec.hdf5", "w") as file:
        file["davis/left/events"] = np.array([[1, 0, 0.5, 1], [5, 3, 1.5, -1], [2, 2, 2.5, 1]])
    check(tmp_path / "mvsec.hdf5", 260, 346, [500_000_000, 1_500_000_000, 2_500_000_000])
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images"] = [1]
    with pytest.raises(MediaError, match="DSEC"):
        open_events(tmp_path / "other.h5")
    (tmp_path / "broken.h5").write_bytes(b"half")
    with pytest.raises(MediaError, match="HDF5"):
        open_events(tmp_path / "broken.h5")


@needs("aedat")
def test_broken_aedat4(tmp_path: Path) -> None:
    (tmp_path / "broken.aedat4").write_bytes(b"half")
    with pytest.raises(MediaError, match="AEDAT 4"):
        open_events(tmp_path / "broken.aedat4")


@needs("rosbags")
def test_bag_of_packets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    from stvae_ros.data.bags.bag import EVENT_PACKET as kind
    from stvae_ros.data.bags.bag import EVENT_PACKET_DEFINITION

    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(EVENT_PACKET_DEFINITION, kind))
    header = store.types["std_msgs/msg/Header"](store.types["builtin_interfaces/msg/Time"](1, 2), "lens")
    path = tmp_path / "bag"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = [writer.add_connection(f"/{name}/events", kind, typestore=store) for name in ("left", "right")]
        for seed, topic in enumerate(topics):
            for packet in np.split(words_of(seed, 400, True), 2):
                message = store.types[kind](header, 48, 64, 0, 0, "evt3", False, packet.view(np.uint8))
                writer.write(topic, 5, store.serialize_cdr(message, kind))
    recording = open_events(path, "/right/events")
    expected = slowly(np.split(words_of(1, 400, True), 2), True, [0, 0])
    assert (recording.height, recording.width) == (HEIGHT, WIDTH) and len(Events.join(recording.read())) == len(
        expected
    ) > 0
    with pytest.raises(MediaError, match="/left/events, /right/events; say which"):
        open_events(path)
    assert main(["evaluate", "bag", str(path), "--output", str(tmp_path / "out")]) == 2
    assert f"for event cameras: stvae evaluate events events:{path}" in capsys.readouterr().err
    with pytest.raises(MediaError, match="not on /nowhere"):
        open_events(path, "/nowhere")
    (path / "metadata.yaml").unlink()
    assert len(Events.join(open_events(path, "/right/events").read())) == len(expected)
    broken, empty = tmp_path / "broken.mcap", tmp_path / "empty"
    broken.write_bytes(b"half")
    empty.mkdir()
    for wrong, words in ((broken, "broken.mcap"), (empty, "no bag"), (tmp_path / "absent.txt", "no such recording")):
        with pytest.raises(MediaError, match=words):
            open_events(wrong)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(b"")
    with pytest.raises(MediaError, match="not a recording of events"):
        open_events(tmp_path / "video.mp4")
    assert is_event_file("a.aedat4") and not is_event_file("a.mp4")


@needs_data
@pytest.mark.parametrize(
    ("path", "height", "width", "count", "seconds", "package"),
    [
        ("bags/test_events_1", 480, 640, 343_474, 2.08, "rosbags"),
        ("bags/test_events_2", 260, 346, 571_266, 1.0, "rosbags"),
        ("events/tonic_sample.aedat4", 240, 320, 111_954, 0.59, "aedat"),
    ],
)
def test_real_recordings(path: str, height: int, width: int, count: int, seconds: float, package: str) -> None:
    if find_spec(package) is None:
        pytest.skip(f"needs {package}: pip install '.[events]'")
    recording = open_events(REAL / path)
    events = Events.join(recording.read())
    assert (recording.height, recording.width) == (height, width) and len(events) == count
    assert (events.t[-1] - events.t[0]) / 1e9 == pytest.approx(seconds, abs=0.01)
    assert (np.diff(events.t) >= 0).all() and 0.2 < events.polarity.mean() < 0.8
