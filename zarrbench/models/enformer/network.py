"""The whole network, and the part of it that follows the trunk."""

from typing import Any

from zarrbench.models.enformer.architecture import Architecture, Weights
from zarrbench.models.enformer.head import head
from zarrbench.models.enformer.transformer import transformer
from zarrbench.models.enformer.trunk import trunk


def network(
    architecture: Architecture,
    weights: Weights,
    keys: list[Any],
    codes: Any,
    bins: range | None = None,
) -> Any:
    """Predict from whole sequences.

    Parameters
    ----------
    architecture : Architecture
    weights : Weights
        Their head decides the tracks: see `zarrbench.models.enformer.head.of_tracks`.
    keys : list of float32 (head, distance, key)
        From `zarrbench.models.enformer.transformer.position_keys`.
    codes : uint8 (batch, input_length)
    bins : range, optional
        Neighbouring output bins; all by default.

    Returns
    -------
    float32 (batch, bin, track)
    """
    return after_trunk(architecture, weights, keys, trunk(architecture, weights, codes), bins)


def after_trunk(
    architecture: Architecture,
    weights: Weights,
    keys: list[Any],
    rows: Any,
    bins: range | None = None,
) -> Any:
    """Predict as `network` does, from the rows of the trunk (batch, row, channel)."""
    asked = architecture.rows(bins)
    return head(weights, transformer(architecture, weights, keys, rows, asked))
