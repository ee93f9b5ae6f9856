"""3-D scenes as training data."""

import numpy as np
import pytest
import torch

from stvae_ros.data.scenes.scene3d_sequences import Scene3DSequences
from stvae_ros.training.data import SequenceData

PHOTOS = [np.random.default_rng(i).integers(0, 256, (80, 100, 3), np.uint8) for i in range(3)]


@pytest.fixture(scope="module")
def sequences():
    return Scene3DSequences(PHOTOS, 30, 2, (60, 80), 3, seed=4)


def test_items_have_the_shapes_of_all_sequences_and_depend_on_seed_and_index_only(sequences):
    item = sequences[7]
    assert item["frames"].shape == (3, 3, 60, 80)
    assert item["flow"].shape == (2, 2, 60, 80)
    assert item["flow_known"].shape == (2, 60, 80)
    sequences[3]
    assert all(torch.equal(value, sequences[7][name]) for name, value in item.items())
    assert not torch.equal(item["frames"], sequences[8]["frames"])


def test_motion_is_spread_over_slow_and_fast_sequences(sequences):
    # In pixels of a picture 320 pixels wide.
    means = np.array([4 * float(sequences[i]["flow"].norm(dim=1).mean()) for i in range(30)])
    assert (means < 1).sum() >= 3
    assert ((means > 1) & (means < 4)).sum() >= 3
    assert (means > 4).sum() >= 3
    assert means.max() < 25


def test_the_data_module_mixes_3d_scenes_in():
    data = SequenceData(synthetic_share=0.5, scene3d_share=0.5, size=32, length=2, batch_size=2, steps_per_epoch=3)
    train, validation = data.make_sets()
    draws = [np.random.default_rng((data.seed, index, 1)).uniform() for index in range(6)]
    for index, draw in enumerate(draws):
        expected = train.sets[int(draw > 0.5)][index]
        assert torch.equal(train[index]["frames"], expected["frames"])
    assert [type(kind).__name__ for kind in train.sets] == ["SyntheticSequences", "Scene3DSequences"]
    assert len(validation) == 2 * data.validation_count
