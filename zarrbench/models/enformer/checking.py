"""Is a folder the released Enformer, and may its weights be used without it?"""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from zarrbench.errors import ModelInputError, UnknownGraphError
from zarrbench.genome.bases import Codes
from zarrbench.genome.reference import Reference
from zarrbench.models.enformer.extraction import extract
from zarrbench.models.enformer.forward import Forward
from zarrbench.models.enformer.parity import ONE, TOLERANCE, Parity, compare
from zarrbench.models.enformer.published import TRACK, compare_published, published_genes
from zarrbench.models.enformer.saved_model import Released, Stock, open_released
from zarrbench.models.enformer.weights import Arrays, load_origin, load_weights, save_weights
from zarrbench.provenance import content_sha256, now, plain, software


def check(place: Path) -> dict[str, Any]:
    """Say what a SavedModel folder, or a file of converted weights, is.

    One random sequence is sent through the released model and through our forward.

    Returns
    -------
    dict
        Sizes, the number of trained parameters, the largest difference of the two forwards (and
        relative to the range of the output), and the verdict.

    Raises
    ------
    ModelInputError
        If it is no Enformer, or damaged.
    """
    if not place.is_dir():
        return {"weights": str(place), **load_origin(place)}
    released = open_released(place)
    facts: dict[str, Any] = {
        "folder": str(place),
        "bases": released.input_length,
        "bins": released.output_bins,
        "human_tracks": released.tracks,
    }
    try:
        architecture, arrays = extract(released)
    except UnknownGraphError as error:
        return {**facts, "verdict": f"unknown graph ({error}): it runs only as it is"}
    parity = compare(released, architecture, arrays)
    return {
        **facts,
        "parameters": parameters(released, arrays),
        "architecture": plain(architecture),
        **_shown(parity),
    }


def check_published(
    place: Path, tables: Path, reference: Reference, limit: int | None = None
) -> dict[str, Any]:
    """Compare the predictions of a model with published ones, gene by gene.

    Parameters
    ----------
    place : Path
        As for `check`.
    tables : Path
        Folder of the tables of the published benchmark.
    reference : Reference
        hg19.
    limit : int, optional
        Only the first so many genes whose window the reference holds: on a CPU each takes a minute.
    """
    genes = published_genes(tables)
    network: Forward | Stock
    if place.is_dir():
        released = open_released(place)
        length, bins, tracks = released.input_length, released.output_bins, released.tracks
    else:
        architecture, arrays = load_weights(place)
        length, bins = architecture.input_length, architecture.output_bins
        tracks = architecture.tracks
    if tracks <= TRACK:
        raise ModelInputError(
            f"{place} has {tracks} human tracks, the published predictions are of number {TRACK}"
        )
    if place.is_dir():
        network = Stock(released, 1, [TRACK], "float32")
    else:
        network = Forward(architecture, arrays, ONE, [TRACK], "float32")

    def predict(codes: Codes) -> NDArray[np.float32]:
        return next(network.sequences(codes, range(bins)))

    return compare_published(predict, length, reference, genes, limit)


def convert(folder: Path, path: Path) -> dict[str, Any]:
    """Write the weights of a SavedModel as one safetensors file; return what `check` found.

    Raises
    ------
    ModelInputError
        If our forward with these weights is not the released model: nothing is written.
    """
    released = open_released(folder)
    try:
        architecture, arrays = extract(released)
    except UnknownGraphError as error:
        raise ModelInputError(
            f"{folder} cannot be converted, its graph is unknown: {error}; use the folder itself"
        ) from error
    parity = compare(released, architecture, arrays)
    if not parity.same:
        raise ModelInputError(
            f"{folder} cannot be converted: with its weights our forward differs by "
            f"{parity.relative:.1e} of the output's range, more than {TOLERANCE:.0e}; use the "
            "folder itself"
        )
    facts = {"parameters": parameters(released, arrays), **_shown(parity)}
    origin = {
        **{key: str(value) for key, value in facts.items()},
        "sha256": content_sha256(folder),
        "converted": now(),
        "software": software(),
    }
    save_weights(architecture, arrays, path, origin)
    return {"weights": str(path), "bytes": path.stat().st_size, **facts}


def parameters(released: Released, arrays: Arrays) -> int:
    """Return the number of trained parameters: 251,221,292 in the released model.

    All variables that the model reads, the mouse head among them, less the moving statistics.
    """
    captured = (outer for outer, _ in released.function.graph.captures)
    shapes = [tf.raw_ops.VariableShape(input=o) for o in captured if o.dtype == tf.resource]
    moving = sum(a.size for n, a in arrays.items() if n.endswith(("/mean", "/variance")))
    return sum(int(np.prod(shape)) for shape in shapes) - moving


def _shown(parity: Parity) -> dict[str, Any]:
    verdict = "our forward is this model" if parity.same else "our forward is NOT this model"
    return {
        "max_difference": float(f"{parity.difference:.3g}"),
        "max_relative_difference": float(f"{parity.relative:.3g}"),
        "tolerance": TOLERANCE,
        "verdict": verdict,
    }
