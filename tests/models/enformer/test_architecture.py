import math

import pytest

from zarrbench.models.enformer.architecture import TINY, Architecture, shapes


def test_the_numbers_of_the_released_model():
    released = Architecture()
    assert (released.input_length, released.bin_size, released.output_bins) == (196_608, 128, 896)
    assert (released.channels, released.value_size, released.halo) == (1536, 192, 259)
    # 251,221,292 trainable parameters with the head of 1,643 mouse tracks, which we leave out
    trained = {
        name: math.prod(shape)
        for name, shape in shapes(released).items()
        if not name.endswith(("/mean", "/variance", "positions"))
    }
    assert sum(trained.values()) == 251_221_292 - 1643 * (3072 + 1)


def test_bins_are_cropped_rows():
    released = Architecture()
    assert released.rows() == range(320, 1216)
    assert released.rows(range(447, 450)) == range(767, 770)
    for wrong in (range(0), range(-1, 3), range(890, 897), range(0, 9, 2)):
        with pytest.raises(ValueError, match="not neighbouring bins of 896"):
            released.rows(wrong)


@pytest.mark.parametrize("sizes", [{"crop": 32}, {"crop": -1}, {"heads": 5}])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match=r"leaves none|of a multiple of 6"):
        Architecture(**({"bins": 64, "filters": TINY.filters, "heads": 2, "crop": 1} | sizes))
