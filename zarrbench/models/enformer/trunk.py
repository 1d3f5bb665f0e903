"""The convolutional trunk: bases to one row of channels a bin."""

from typing import Any

from zarrbench.models.enformer.architecture import Architecture, Weights
from zarrbench.models.enformer.convolution import activated, convolve, multiply, pointwise
from zarrbench.models.keras_network import one_hot, ops


def trunk(architecture: Architecture, weights: Weights, codes: Any, padding: str = "same") -> Any:
    """Run stem and tower on base codes uint8 (batch, length); else as `trunk_of_one_hot`."""
    return trunk_of_one_hot(architecture, weights, one_hot(codes), padding)


def trunk_of_one_hot(
    architecture: Architecture, weights: Weights, bases: Any, padding: str = "same"
) -> Any:
    """Run stem and tower.

    Parameters
    ----------
    architecture : Architecture
    weights : Weights
    bases : float32 (batch, length, 4)
        One-hot, channels A, C, G, T; what is no letter is a zero vector.
    padding : {"same", "valid"}
        With ``same`` the ends are padded with zeros, at every stage, as the released model does
        with its input: ``length / bin_size`` rows. With ``valid`` nothing is padded: a tile of
        ``bin_size * k + 2 * architecture.halo`` bases gives the k rows of its middle, as they are
        wherever the tile lies in a longer input.

    Returns
    -------
    float32 (batch, row, channel)
    """
    x = convolve(
        bases,
        weights["stem/convolution/kernel"],
        weights["stem/convolution/bias"],
        padding,
    )
    x = _pooled(weights, "stem", x)
    for stage in range(len(architecture.filters) - 1):
        name = f"tower/{stage}"
        x = convolve(
            activated(weights, f"{name}/convolution", x),
            weights[f"{name}/convolution/kernel"],
            weights[f"{name}/convolution/bias"],
            padding,
        )
        x = _pooled(weights, name, x)
    return x


def _pooled(weights: Weights, name: str, x: Any) -> Any:
    """Add the pointwise convolution, then pool pairs by attention; half the length."""
    x = x + pointwise(weights, f"{name}/pointwise", x)
    _, length, channels = x.shape
    pairs = ops.reshape(x, (-1, length // 2, 2, channels))
    first, second = pairs[:, :, 0], pairs[:, :, 1]
    # A softmax over two is a sigmoid of their difference, which one product gives instead of two.
    difference = first - second
    share = ops.sigmoid(multiply(difference, weights[f"{name}/pooling/kernel"]))
    return second + share * difference
