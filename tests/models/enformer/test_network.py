import dataclasses

import numpy as np

from zarrbench.models.enformer.architecture import TINY
from zarrbench.models.enformer.head import of_tracks


def test_asked_bins_and_tracks_are_those_of_all(tiny, random_codes):
    codes = random_codes(2, TINY.input_length)
    whole = tiny(codes)
    assert (whole.shape, whole.dtype) == ((2, TINY.output_bins, TINY.tracks), np.float32)
    assert whole.min() > 0
    assert whole.std() > 0.1
    bins, tracks = range(10, 13), [5, 0, 5]
    some = dataclasses.replace(tiny)
    some.weights = of_tracks(tiny.weights, tracks)
    found = some(codes, bins)
    np.testing.assert_allclose(found, whole[:, 10:13][..., tracks], rtol=0, atol=1e-5)


def test_a_row_does_not_depend_on_its_batch(tiny, random_codes):
    codes = random_codes(3, TINY.input_length)
    together = tiny(codes)
    for row in range(3):
        np.testing.assert_allclose(tiny(codes[row : row + 1])[0], together[row], atol=1e-5)
