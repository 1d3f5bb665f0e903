"""From the bins of a model output to one number a track (METHODS section 5)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import DTypeLike, NDArray

from zarrbench.errors import ModelInputError, RecipeError
from zarrbench.recipes import nearest

_LOG = {"e": np.log, 2: np.log2, 10: np.log10}
_LOG_OF_BASE = {"e": 1.0, 2: np.log(2), 10: np.log(10)}


@dataclass(frozen=True)
class Readout:
    """How the output of one sequence becomes one number a track.

    Parameters
    ----------
    kind : {'identity', 'raw_sum', 'sum_log', 'log_sum'}
        With x the output and c the pseudocount: the only bin as it is; ``sum_b x``;
        ``sum_b log(x + c)``; ``log(sum_b x + c)``.
    bins : tuple of int
        0-based bins that count; all by default.
    log_base : {'e', 2, 10}
    pseudocount : float
    """

    kind: Literal["identity", "raw_sum", "sum_log", "log_sum"]
    bins: tuple[int, ...] | None = None
    log_base: Literal["e", 2, 10] = "e"
    pseudocount: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.pseudocount < np.inf:
            raise ValueError(f"pseudocount must be 0 or more, found {self.pseudocount}")

    @classmethod
    def from_text(cls, text: str) -> "Readout":
        """Return the readout of a name: ``identity``, or one that the study used (section 5).

        The bins of the study's are those of Enformer, which has 896. ``released_finetuned`` also
        adds the two haplotypes up, which is no part of a readout: ask the statistics stage for it
        with ``haplotypes: sum``.
        """
        if text not in NAMED:
            raise RecipeError(
                f"the readout {text!r} is neither a mapping (kind, bins, log_base, pseudocount) "
                f"nor a known name{nearest(text, NAMED)}"
            )
        return NAMED[text]

    def check(self, n_bins: int, where: str) -> None:
        """Refuse a readout that a model of `n_bins` bins cannot serve."""
        if self.kind == "identity" and n_bins != 1:
            raise RecipeError(
                f"{where}: 'identity' needs a model of one bin, this one has {n_bins}"
            )
        if self.bins is not None and not all(0 <= b < n_bins for b in self.bins):
            raise RecipeError(f"{where}: bins {self.bins} are not all in 0..{n_bins - 1}")
        if self.bins == ():
            raise RecipeError(f"{where}: bins must name at least one bin")
        if self.bins is not None and len(set(self.bins)) < len(self.bins):
            raise RecipeError(f"{where}: bins {self.bins} name a bin twice")


NAMED = {
    "identity": Readout("identity"),
    "paper": Readout("sum_log", (447, 448, 449)),
    "released_track": Readout("sum_log", (446, 447, 448, 449, 450), 10),
    "released_finetuned": Readout("log_sum", (446, 447, 448, 449, 450), 2),
    "attribution": Readout("raw_sum", (447, 448, 449)),
}


def asked_bins(readouts: Iterable[Readout], n_bins: int) -> range:
    """Return the neighbouring bins of a model of `n_bins` that serve all readouts."""
    asked = [bin for readout in readouts for bin in readout.bins or (0, n_bins - 1)]
    return range(min(asked), max(asked) + 1)


def read_out(
    outputs: NDArray[np.float32],
    readout: Readout,
    bins: range | None = None,
    dtype: DTypeLike = np.float32,
) -> NDArray[np.floating]:
    """Return one number a sequence and track; (sequence, bin, track) to (sequence, track).

    Sums and logarithms are taken in float64.

    Parameters
    ----------
    outputs : float32 (sequence, bin, track)
    readout : Readout
    bins : range, optional
        Which bins of the model `outputs` holds; by default from the first.
    dtype : dtype
        Of the numbers; float64 where small differences between them count.

    Raises
    ------
    ModelInputError
        If a logarithm would be taken of zero or less, or a number is not finite: in a cube NaN
        means that nothing was predicted.
    """
    with np.errstate(over="ignore"):
        first = 0 if bins is None else bins.start
        values = _read_out(outputs, readout, first).astype(dtype)
    refuse_not_finite(values, f"{readout.kind!r} makes of")
    return values


def derivative(
    output: NDArray[np.float32], readout: Readout, bins: range | None = None
) -> NDArray[np.float64]:
    """Return by how much a readout changes with each bin of an output, (bin, track).

    A track's readout depends on the bins of that track alone.

    Parameters
    ----------
    output : float32 (bin, track)
    readout, bins
        As for `read_out`.
    """
    first = 0 if bins is None else bins.start
    rows = slice(None) if readout.bins is None else [bin - first for bin in readout.bins]
    chosen = output[rows].astype(np.float64)
    if readout.kind in ("sum_log", "log_sum"):
        summed = chosen if readout.kind == "sum_log" else chosen.sum(axis=0, keepdims=True)
        slope = 1 / ((summed + readout.pseudocount) * _LOG_OF_BASE[readout.log_base])
    else:
        slope = np.ones(1)
    derivatives = np.zeros(output.shape)
    derivatives[rows] = np.broadcast_to(slope, chosen.shape)
    return derivatives


def refuse_not_finite(values: NDArray[np.floating], made: str) -> None:
    """Refuse numbers that are not finite; `made` says how the model's output gave them.

    Raises
    ------
    ModelInputError
    """
    broken = np.count_nonzero(~np.isfinite(values))
    if broken:
        raise ModelInputError(
            f"{broken} of {values.size} numbers that {made} the model's output "
            f"are not finite (NaN, infinite or beyond float32); check the model and its inputs"
        )


def _read_out(outputs: NDArray[np.float32], readout: Readout, first: int) -> NDArray[np.floating]:
    if readout.kind == "identity":
        return outputs[:, 0, :]
    bins = slice(None) if readout.bins is None else [bin - first for bin in readout.bins]
    chosen = outputs[:, bins, :].astype(np.float64)
    if readout.kind == "raw_sum":
        return chosen.sum(axis=1)
    summed = chosen if readout.kind == "sum_log" else chosen.sum(axis=1, keepdims=True)
    shifted = summed + readout.pseudocount
    if (shifted <= 0).any():
        raise ModelInputError(
            f"the readout {readout.kind!r} takes a logarithm, but the model's output plus the "
            f"pseudocount {readout.pseudocount} is {np.nanmin(shifted):.3g}; use raw_sum or "
            f"identity"
        )
    return _LOG[readout.log_base](shifted).sum(axis=1)


def combine_haplotypes(prediction: xr.DataArray, how: Literal["mean", "sum"]) -> xr.DataArray:
    """Combine the two haplotypes of every individual, in float64, after the readout.

    The study averages; its fine-tuned predictions are sums. r is the same for both. Where one
    haplotype is NaN, so is the individual.
    """
    values = prediction.astype(np.float64)
    combine = values.mean if how == "mean" else values.sum
    return combine("haplotype", skipna=False)
