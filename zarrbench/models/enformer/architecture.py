"""The sizes of the network, and the name and shape of every weight.

Weights are a flat mapping from a name of ours to an array, so that they are a safetensors file and
an argument of a compiled function as they stand. Names say the place in the network, never the
name of a variable of somebody else's graph.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

#: name to array of the backend, or of NumPy
Weights = Mapping[str, Any]

#: ``float32`` rounds nowhere; ``tensorfloat32`` lets a GPU multiply with 10 bits of mantissa and
#: add in float32, as TensorFlow does by default (elsewhere it is float32); ``bfloat16`` multiplies
#: by weights of 7 bits of mantissa, while sums and norms stay in float32 and attention in
#: tensorfloat32
Precision = Literal["float32", "tensorfloat32", "bfloat16"]

#: rows that attend at once: a block needs the logits of its own distances, hardly more than of keys
ROWS_AT_ONCE = 128

#: rows of the trunk that one tile gives: more share less, fewer repeat more of the halo
BINS_OF_TILE = 4
#: tracks of the mouse head of the released model
MOUSE_TRACKS = 1643

STEM_WIDTH = 15
TOWER_WIDTH = 5
#: added to the variance by batch and layer normalisation
EPSILON = 1e-5
#: variables of one batch normalisation, each (channel,)
BATCH_NORM = ("mean", "variance", "scale", "offset")


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network; the defaults are those of the released model.

    Parameters
    ----------
    bins : int
        Rows of the trunk, each of ``2 ** len(filters)`` bases.
    crop : int
        Rows cut at each side before the head.
    filters : tuple of int
        Channels of the stem and of each stage of the convolutional tower; every stage halves the
        length. The first stage of the tower has as many channels as the stem, which is named once.
    layers : int
        Layers of the transformer.
    heads : int
        Heads of attention; they share the channels of the last filter.
    key_size : int
        Channels of a query and of a key of one head.
    tracks : int
        Human tracks.
    """

    bins: int = 1536
    crop: int = 320
    filters: tuple[int, ...] = (768, 768, 896, 1024, 1152, 1280, 1536)
    layers: int = 11
    heads: int = 8
    key_size: int = 64
    tracks: int = 5313

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.crop < self.bins:
            raise ValueError(f"cropping {self.crop} of {self.bins} rows at each side leaves none")
        if self.channels % (6 * self.heads):
            raise ValueError(
                f"{self.channels} channels are not {self.heads} heads of a multiple of 6: "
                "there are three kinds of position features, each with and without a sign"
            )

    @property
    def channels(self) -> int:
        """Channels of a row of the trunk and of the transformer."""
        return self.filters[-1]

    @property
    def bin_size(self) -> int:
        """Bases of a row."""
        return int(2 ** len(self.filters))

    @property
    def input_length(self) -> int:
        """Bases of the input."""
        return self.bins * self.bin_size

    @property
    def halo(self) -> int:
        """Bases to either side of a bin on which its row of the trunk depends: 259 as released."""
        in_tower = sum(2**stage for stage in range(1, len(self.filters)))
        return STEM_WIDTH // 2 + TOWER_WIDTH // 2 * in_tower

    @property
    def output_bins(self) -> int:
        return self.bins - 2 * self.crop

    @property
    def value_size(self) -> int:
        """Channels of a value of one head, and position features."""
        return self.channels // self.heads

    def rows(self, bins: range | None = None) -> range:
        """Return the rows of the trunk that output bins are made of; all of them by default.

        Raises
        ------
        ValueError
            If they are not neighbours or lie outside the output.
        """
        bins = range(self.output_bins) if bins is None else bins
        if bins.step != 1 or not 0 <= bins.start < bins.stop <= self.output_bins:
            raise ValueError(f"{bins} are not neighbouring bins of {self.output_bins}")
        return range(bins.start + self.crop, bins.stop + self.crop)


#: as deep as it must be to have every part, and small
TINY = Architecture(
    bins=64, crop=20, filters=(24, 24, 28, 32, 36, 40, 48), layers=2, heads=2, key_size=8, tracks=7
)

#: the rows and tracks of the released model, hardly any channels
SMALL = Architecture(filters=TINY.filters, layers=2, heads=2, key_size=8)


def shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight, in the order of the network.

    Kernels of convolutions are (width, input, output), those of dense layers (input, output).
    ``positions`` are the features of `zarrbench.models.enformer.positions`: the released model
    computes them, and every library does so a little differently.
    """
    stem, channels = architecture.filters[0], architecture.channels
    found: dict[str, tuple[int, ...]] = {
        "stem/convolution/kernel": (STEM_WIDTH, 4, stem),
        "stem/convolution/bias": (stem,),
        **_convolution("stem/pointwise", (stem, stem)),
        "stem/pooling/kernel": (stem, stem),
    }
    before = stem
    for stage, filters in enumerate(architecture.filters[1:]):
        name = f"tower/{stage}"
        found |= _convolution(f"{name}/convolution", (TOWER_WIDTH, before, filters))
        found |= _convolution(f"{name}/pointwise", (filters, filters))
        found[f"{name}/pooling/kernel"] = (filters, filters)
        before = filters
    found["positions"] = (2 * architecture.bins - 1, architecture.value_size)
    for layer in range(architecture.layers):
        found |= _layer(architecture, f"transformer/{layer}")
    found |= _convolution("final", (channels, 2 * channels))
    found["human/kernel"] = (2 * channels, architecture.tracks)
    found["human/bias"] = (architecture.tracks,)
    return found


def _convolution(name: str, kernel: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the weights of a convolution that normalises its input."""
    norm: dict[str, tuple[int, ...]] = {f"{name}/{part}": kernel[-2:-1] for part in BATCH_NORM}
    return {**norm, f"{name}/kernel": kernel, f"{name}/bias": kernel[-1:]}


def _layer(architecture: Architecture, name: str) -> dict[str, tuple[int, ...]]:
    channels, heads, key_size = architecture.channels, architecture.heads, architecture.key_size
    return {
        f"{name}/attention/scale": (channels,),
        f"{name}/attention/offset": (channels,),
        f"{name}/attention/query": (channels, heads * key_size),
        f"{name}/attention/key": (channels, heads * key_size),
        f"{name}/attention/value": (channels, channels),
        f"{name}/attention/position": (architecture.value_size, heads * key_size),
        f"{name}/attention/content_bias": (heads, key_size),
        f"{name}/attention/position_bias": (heads, key_size),
        f"{name}/attention/kernel": (channels, channels),
        f"{name}/attention/bias": (channels,),
        f"{name}/perceptron/scale": (channels,),
        f"{name}/perceptron/offset": (channels,),
        f"{name}/perceptron/wide_kernel": (channels, 2 * channels),
        f"{name}/perceptron/wide_bias": (2 * channels,),
        f"{name}/perceptron/kernel": (2 * channels, channels),
        f"{name}/perceptron/bias": (channels,),
    }
