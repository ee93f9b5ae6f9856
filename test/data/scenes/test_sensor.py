"""Effects of a sensor."""

import numpy as np

from stvae_ros.data.scenes.sensor import Sensor

IMAGE = np.full((40, 60, 3), 100, np.uint8)


def test_no_effect_changes_nothing() -> None:
    assert np.array_equal(Sensor()(IMAGE, 3), IMAGE)


def test_exposure_swings() -> None:
    sensor = Sensor(gain=1.2, swing=0.5, period=20)
    assert sensor(IMAGE, 0).mean() == 120
    assert sensor(IMAGE, 5).mean() == 180
    assert sensor(IMAGE, 15).mean() == 60


def test_noise_depends_on_seed_and_frame_and_grows_with_brightness() -> None:
    sensor = Sensor(seed=1, noise=4.0)
    assert np.array_equal(sensor(IMAGE, 3), sensor(IMAGE, 3))
    assert not np.array_equal(sensor(IMAGE, 3), sensor(IMAGE, 4))
    assert abs(sensor(IMAGE, 3).mean() - 100) < 0.5
    assert 3 < sensor(IMAGE, 3).std() < 4.5
    assert sensor(IMAGE * 2, 3).std() > 1.2 * sensor(IMAGE // 4, 3).std()


def test_motion_blur_smears_along_the_flow() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30] = 200
    flow = np.zeros((40, 60, 2), np.float32)
    flow[..., 0] = 8
    blurred = Sensor(shutter=0.5)(image, 0, flow)
    assert set(np.flatnonzero(blurred[20, :, 0])) == {28, 29, 30, 31, 32}
    assert np.array_equal(Sensor(shutter=0.5)(image, 0, flow[..., ::-1]), image)


def test_jpeg_loses_detail_not_brightness() -> None:
    noisy = Sensor(noise=20.0)(IMAGE, 0)
    coded = Sensor(quality=30)(noisy, 0)
    assert abs(coded.mean() - noisy.mean()) < 1
    assert 0 < coded.std() < noisy.std()
