"""A SavedModel that looks like the released Enformer and has weights of ours, for tests and demos.

An implementation of its own in plain TensorFlow, which shares no code with the network in
`keras.ops`: the two check each other. It follows the operations, their order and the names that
Sonnet's modules give the released graph (TF-Hub deepmind/enformer/1), so that whoever reads
weights from a graph can be tested without a download.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from zarrbench.models.enformer.architecture import EPSILON, MOUSE_TRACKS, Architecture
from zarrbench.models.enformer.weights import Arrays
from zarrbench.storage import published


def write_saved_model(
    architecture: Architecture, weights: Arrays, folder: Path, mouse_tracks: int = MOUSE_TRACKS
) -> None:
    """Write a SavedModel with the interface of the released one, whole or not at all.

    ``tf.saved_model.load(folder).model.predict_on_batch`` (or `tensorflow_hub.load`) takes float32
    (batch, 2 * input_length, 4), of which only the middle counts, and returns ``human`` and
    ``mouse``, float32 (batch, output_bins, track). As in the released one there are no signatures,
    one concrete function, position features that the graph computes at every call, and variables
    that it never reads. These and the mouse head are drawn at random, the same ones every time.

    Parameters
    ----------
    architecture : Architecture
    weights : mapping of str to float32
        By the names of `zarrbench.models.enformer.architecture.shapes`; others are ignored.
    folder : Path
        Replaced if it exists.
    mouse_tracks : int, optional
    """
    # Weights fit a machine's memory twice, not always a GPU's.
    with tf.device("CPU"):
        root = tf.Module()
        root.model = _Model(architecture, weights, mouse_tracks)
    with published(folder) as temporary:
        tf.saved_model.save(root, str(temporary))


def graph_features(rows: int, features: int) -> Any:
    """Compute position features as the released graph does: with TensorFlow's own float32.

    Parameters
    ----------
    rows : int
    features : int
        A multiple of 6.

    Returns
    -------
    float32 tensor (1, 2 * rows - 1, features)
        In the order of `zarrbench.models.enformer.positions.position_features`. The densities
        differ from those, and an eager call from a compiled one, which replaces divisions by
        products: by the last bit of a large logarithm, 0.002 at the size of the released model.
    """
    count = features // 6
    distance = tf.range(-rows + 1, rows, dtype=tf.float32)[tf.newaxis]
    away = tf.abs(distance)

    most = tf.math.log(tf.cast(rows, tf.float32)) / tf.math.log(2.0)
    half_life = tf.reshape(tf.pow(2.0, tf.linspace(3.0, most, count)), [1, 1, count])
    decays = tf.exp(-tf.math.log(2.0) / half_life * away[..., tf.newaxis])

    reach = tf.pow(2.0, tf.range(1, count + 1, dtype=tf.float32)) - 1
    boxes = tf.cast(tf.reshape(reach, [1, 1, count]) > away[..., tf.newaxis], tf.float32)

    means = tf.linspace(rows / count, float(rows), count)
    mean, deviation = tf.reshape(tf.cast(means, tf.float32), [1, 1, count]), rows / (2 * count)
    shape, rate = (mean / deviation) ** 2, mean / deviation**2
    x = away[..., tf.newaxis]
    unscaled = tf.math.xlogy(shape - 1.0, x) - rate * x
    density = tf.exp(unscaled - (tf.math.lgamma(shape) - shape * tf.math.log(rate))) + 1e-8
    gammas = density / tf.reduce_max(density, axis=1, keepdims=True)

    unsigned = tf.concat([decays, boxes, gammas], axis=-1)
    return tf.concat([unsigned, tf.sign(distance)[..., tf.newaxis] * unsigned], axis=-1)


class _Model(tf.Module):
    """What the released object holds as ``model``."""

    def __init__(self, architecture: Architecture, weights: Arrays, mouse_tracks: int) -> None:
        super().__init__()
        sizes, rng = architecture, np.random.default_rng(0)
        self._length, self._crop = sizes.input_length, sizes.crop
        stages = len(sizes.filters) - 1
        self._stem = _Stage("trunk/stem", weights, "stem", rng)
        self._downres = [
            _Stage(f"trunk/downres/downres_block_{i}", weights, f"tower/{i}", rng)
            for i in range(stages)
        ]
        self._transformer = [
            _Layer(sizes, f"trunk/transformer/transformer_block_{i}", weights, f"transformer/{i}")
            for i in range(sizes.layers)
        ]
        self._final = _ConvBlock("trunk/final_pointwise/conv_block", weights, "final", rng)
        inputs = 2 * sizes.channels
        mouse = rng.standard_normal((inputs, mouse_tracks), dtype=np.float32)
        heads = {
            "human": (weights["human/kernel"], weights["human/bias"]),
            "mouse": (mouse / np.float32(np.sqrt(inputs)), mouse[0]),
        }
        self._heads = {
            name: _Linear(f"heads/head_{name}/linear", kernel, bias)
            for name, (kernel, bias) in heads.items()
        }
        spec = tf.TensorSpec([None, 2 * sizes.input_length, 4], tf.float32, name="args_0")
        self.predict_on_batch = tf.function(self._predict, input_signature=[spec], autograph=False)

    def _predict(self, x: Any) -> dict[str, Any]:
        x = _cropped("trunk/crop_input", x, self._length // 2)
        x = self._stem(x)
        for stage in self._downres:
            x = stage(x)
        for layer in self._transformer:
            x = layer(x)
        x = self._final(_cropped("trunk/crop_final", x, self._crop))
        with _scope("trunk/final_pointwise"):
            x = _gelu(x)
        predicted = {}
        for name, head in self._heads.items():
            logits = head(x)
            with _scope(f"heads/head_{name}"):
                predicted[name] = tf.nn.softplus(logits)
        return predicted


class _Stage(tf.Module):
    """The stem, or a stage of the tower: a convolution, a pointwise one added to it, pooling."""

    def __init__(self, scope: str, weights: Arrays, name: str, rng: np.random.Generator) -> None:
        super().__init__()
        self._scope = scope
        self._first: Callable[[Any], Any]
        if name == "stem":  # the only convolution of bases, which need no normalisation
            self._first = _Convolution(f"{scope}/conv1_d", weights, "stem/convolution")
        else:
            self._first = _ConvBlock(f"{scope}/conv_block", weights, f"{name}/convolution", rng)
        block = f"{scope}/pointwise_conv_block"
        self._pointwise = _ConvBlock(block, weights, f"{name}/pointwise", rng)
        self._pooling = f"{scope}/pooling/softmax_pooling"
        self._logits = _Linear(f"{self._pooling}/linear", weights[f"{name}/pooling/kernel"])

    def __call__(self, x: Any) -> Any:
        x = self._first(x)
        added = self._pointwise(x)
        with _scope(f"{self._scope}/residual"):
            x = x + added
        with _scope(self._pooling):
            _, length, channels = x.shape
            pairs = tf.reshape(x, [-1, length // 2, 2, channels])
            return tf.reduce_sum(pairs * tf.nn.softmax(self._logits(pairs), axis=-2), axis=-2)


class _ConvBlock(tf.Module):
    """Normalise with moving statistics, activate, convolve."""

    def __init__(self, scope: str, weights: Arrays, name: str, rng: np.random.Generator) -> None:
        super().__init__()
        self._scope, self._norm = scope, f"{scope}/cross_replica_batch_norm"
        self._scale = _variable(f"{self._norm}/scale", weights[f"{name}/scale"])
        self._offset = _variable(f"{self._norm}/offset", weights[f"{name}/offset"])
        self._mean = _MovingAverage(scope, weights[f"{name}/mean"], rng)
        self._variance = _MovingAverage(scope, weights[f"{name}/variance"], rng)
        self._convolution = _Convolution(f"{scope}/conv1_d", weights, name)

    def __call__(self, x: Any) -> Any:
        mean, variance = self._mean(), self._variance()
        with _scope(self._norm):
            x = tf.nn.batch_normalization(
                x, mean, variance, self._offset, self._scale, variance_epsilon=EPSILON
            )
        with _scope(self._scope):
            x = _gelu(x)
        return self._convolution(x)


class _MovingAverage(tf.Module):
    """A statistic of training. Those of mean and variance bear the same names, as released."""

    def __init__(self, scope: str, average: Any, rng: np.random.Generator) -> None:
        super().__init__()
        self._scope = f"{scope}/exponential_moving_average"
        average = average.reshape(1, 1, -1)
        hidden = rng.standard_normal(average.shape, dtype=np.float32)
        self._counter = _variable(f"{self._scope}/counter", rng.integers(1, 1000), trained=False)
        self._hidden = _variable(f"{self._scope}/hidden", hidden, trained=False)
        self._average = _variable(f"{self._scope}/average", average, trained=False)

    def __call__(self) -> Any:
        with _scope(self._scope):
            return self._average.read_value()


class _Convolution(tf.Module):
    def __init__(self, scope: str, weights: Arrays, name: str) -> None:
        super().__init__()
        self._scope, kernel = scope, weights[f"{name}/kernel"]
        width = kernel.shape[0] if kernel.ndim == 3 else 1
        self._w = _variable(f"{scope}/w", kernel.reshape(width, *kernel.shape[-2:]))
        self._b = _variable(f"{scope}/b", weights[f"{name}/bias"])

    def __call__(self, x: Any) -> Any:
        with _scope(self._scope):
            x = tf.nn.convolution(x, self._w, strides=1, padding="SAME", data_format="NWC")
            return tf.nn.bias_add(x, self._b)


class _Linear(tf.Module):
    def __init__(self, scope: str, kernel: Any, bias: Any = None) -> None:
        super().__init__()
        self._scope = scope
        self._w = _variable(f"{scope}/w", kernel)
        self._b = None if bias is None else _variable(f"{scope}/b", bias)

    def __call__(self, x: Any) -> Any:
        with _scope(self._scope):
            x = tf.matmul(x, self._w)
            return x if self._b is None else tf.add(x, self._b)

    def of_heads(self, x: Any, heads: int) -> Any:
        """Apply to (batch, row, channel); (batch, head, row, channel)."""
        x = self(x)
        with _scope(self._scope):
            _, rows, channels = x.shape
            return tf.transpose(tf.reshape(x, [-1, rows, heads, channels // heads]), [0, 2, 1, 3])


class _LayerNorm(tf.Module):
    def __init__(self, scope: str, weights: Arrays, name: str) -> None:
        super().__init__()
        self._scope = scope
        self._scale = _variable(f"{scope}/scale", weights[f"{name}/scale"])
        self._offset = _variable(f"{scope}/offset", weights[f"{name}/offset"])

    def __call__(self, x: Any) -> Any:
        with _scope(self._scope):
            mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
            return tf.nn.batch_normalization(
                x, mean, variance, self._offset, self._scale, variance_epsilon=EPSILON
            )


class _Layer(tf.Module):
    """A layer of the transformer: attention and a perceptron, each added to what it reads."""

    def __init__(self, sizes: Architecture, scope: str, weights: Arrays, name: str) -> None:
        super().__init__()
        self._scope, perceptron = scope, f"{name}/perceptron"
        self._before = _LayerNorm(f"{scope}/mha/layer_norm", weights, f"{name}/attention")
        self._attention = _Attention(
            sizes, f"{scope}/mha/multihead_attention", weights, f"{name}/attention"
        )
        self._between = _LayerNorm(f"{scope}/mlp/layer_norm", weights, perceptron)
        wide = weights[f"{perceptron}/wide_kernel"], weights[f"{perceptron}/wide_bias"]
        narrow = weights[f"{perceptron}/kernel"], weights[f"{perceptron}/bias"]
        self._wide = _Linear(f"{scope}/mlp/linear", *wide)
        self._narrow = _Linear(f"{scope}/mlp/linear_1", *narrow)

    def __call__(self, x: Any) -> Any:
        added = self._attention(self._before(x))
        with _scope(f"{self._scope}/residual"):
            x = x + added
        wide = self._wide(self._between(x))
        with _scope(f"{self._scope}/mlp"):
            wide = tf.nn.relu(wide)
        added = self._narrow(wide)
        with _scope(f"{self._scope}/residual"):
            return x + added


class _Attention(tf.Module):
    def __init__(self, sizes: Architecture, scope: str, weights: Arrays, name: str) -> None:
        super().__init__()
        self._scope, self._sizes = scope, sizes
        part = {key.removeprefix(f"{name}/"): array for key, array in weights.items()}
        self._q = _Linear(f"{scope}/q_layer", part["query"])
        self._k = _Linear(f"{scope}/k_layer", part["key"])
        self._v = _Linear(f"{scope}/v_layer", part["value"])
        self._r_k = _Linear(f"{scope}/r_k_layer", part["position"])
        biases = (1, sizes.heads, 1, sizes.key_size)
        self._r_w_bias = _variable(f"{scope}/r_w_bias", part["content_bias"].reshape(biases))
        self._r_r_bias = _variable(f"{scope}/r_r_bias", part["position_bias"].reshape(biases))
        self._embedding = _Linear(f"{scope}/embedding_layer", part["kernel"], part["bias"])

    def __call__(self, x: Any) -> Any:
        rows, heads = x.shape[1], self._sizes.heads
        with _scope(self._scope):
            query = self._q.of_heads(x, heads)
            key = self._k.of_heads(x, heads)
            value = self._v.of_heads(x, heads)
            query = query * self._sizes.key_size**-0.5
            position = self._r_k.of_heads(graph_features(rows, self._sizes.value_size), heads)
            content = tf.matmul(query + self._r_w_bias, key, transpose_b=True)
            relative = tf.matmul(query + self._r_r_bias, position, transpose_b=True)
            weights = tf.nn.softmax(content + _by_key(relative))
            attended = tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3])
            attended = tf.reshape(attended, [-1, rows, self._sizes.channels])
        with _scope(f"{self._scope}/batch_apply"):
            leading = tf.shape(attended)
            merged = tf.concat([tf.reduce_prod(leading[:2], keepdims=True), leading[2:]], axis=0)
            embedded = self._embedding(tf.reshape(attended, merged))
            split = tf.concat([leading[:2], tf.shape(embedded)[1:]], axis=0)
            return tf.reshape(embedded, split)


def _by_key(relative: Any) -> Any:
    """Shift logits by distance (batch, head, row, 2 * row - 1) into logits by key."""
    relative = tf.concat([tf.zeros_like(relative[..., :1]), relative], axis=-1)
    _, heads, rows, width = relative.shape
    relative = tf.reshape(relative, [-1, heads, width, rows])
    relative = tf.slice(relative, [0, 0, 1, 0], [-1, -1, -1, -1])
    relative = tf.reshape(relative, [-1, heads, rows, width - 1])
    return tf.slice(relative, [0, 0, 0, 0], [-1, -1, -1, (width + 1) // 2])


def _cropped(scope: str, x: Any, trim: int) -> Any:
    """Cut `trim` rows of (batch, row, channel) at each side."""
    with _scope(scope):
        return x[..., trim:-trim, :] if trim else x


def _gelu(x: Any) -> Any:
    return tf.nn.sigmoid(1.702 * x) * x


def _variable(name: str, value: Any, trained: bool = True) -> Any:
    scope, _, own = name.rpartition("/")
    with _scope(scope):
        return tf.Variable(value, trainable=trained, name=own)


def _scope(name: str) -> Any:
    """Enter a scope by its full name; the slash at the end lets it be entered again as it is."""
    return tf.name_scope(f"seqnn/{name}/")
