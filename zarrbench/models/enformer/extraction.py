"""The weights of the released model, taken from its graph."""

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from zarrbench.errors import UnknownGraphError
from zarrbench.models.enformer.architecture import Architecture, shapes
from zarrbench.models.enformer.graph import graph_of
from zarrbench.models.enformer.positions import position_features
from zarrbench.models.enformer.roles import roles_of
from zarrbench.models.enformer.saved_model import Released
from zarrbench.models.enformer.weights import Arrays


def extract(released: Released) -> tuple[Architecture, Arrays]:
    """Return the sizes and the weights of a released model.

    Variables are told by what consumes them, not by name. The position features are those that the
    graph computes.

    Raises
    ------
    UnknownGraphError
        If the graph is built in another way; the model can then only be called as it is.
    """
    roles = roles_of(graph_of(released.function, released.human))
    placed = {variable: name for name, variable in roles.variables.items()}
    arrays = {
        placed[inner.op.name]: _value(outer, placed[inner.op.name])
        for outer, inner in released.function.graph.captures
        if inner.op.name in placed
    }
    architecture = _architecture(released, arrays)
    arrays["positions"] = _features(released, roles.features, architecture)
    expected = shapes(architecture)
    if unlike := sorted(expected.keys() ^ arrays.keys()):
        raise UnknownGraphError(f"{len(unlike)} weights have no place, such as {unlike[0]}")
    for name, shape in expected.items():
        if arrays[name].size != np.prod(shape):
            raise UnknownGraphError(f"{name} is {arrays[name].shape}, expected {shape}")
    return architecture, {name: arrays[name].reshape(shape) for name, shape in expected.items()}


def _value(handle: Any, name: str) -> NDArray[np.float32]:
    try:
        return tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise UnknownGraphError(f"the variable of {name} is not float32") from error


def _architecture(released: Released, arrays: Arrays) -> Architecture:
    """Return the sizes that the shapes of weights say."""
    stages = len([name for name in arrays if name.endswith("/pooling/kernel")])
    places = ["stem", *(f"tower/{stage}" for stage in range(stages - 1))]
    bins = released.input_length >> stages
    try:
        bias = arrays["transformer/0/attention/content_bias"].shape
        return Architecture(
            bins=bins,
            crop=(bins - released.output_bins) // 2,
            filters=tuple(arrays[f"{place}/pooling/kernel"].shape[-1] for place in places),
            layers=len([name for name in arrays if name.endswith("/attention/query")]),
            heads=bias[-3] if len(bias) > 2 else bias[0],
            key_size=bias[-1],
            tracks=released.tracks,
        )
    except (ValueError, LookupError) as error:
        raise UnknownGraphError(f"its weights do not fit together: {error}") from error


def _features(
    released: Released, operations: list[str], architecture: Architecture
) -> NDArray[np.float32]:
    """Return the position features as the graph computes them, from nothing.

    Where they cannot be had alone (a graph within a graph), they are computed anew.
    """
    definition = released.function.graph.as_graph_def()
    try:
        whole = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
        found = whole.prune([], [f"{operation}:0" for operation in operations])()
    except Exception:  # TensorFlow raises kinds of its own for a graph that cannot be cut there
        return position_features(architecture.bins, architecture.value_size)
    first, *others = (np.squeeze(features.numpy()) for features in found)
    if not all(np.array_equal(first, other) for other in others):
        raise UnknownGraphError("its layers have position features of their own")
    return first
