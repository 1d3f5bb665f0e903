"""The whole network against enformer-pytorch, another implementation, with the same weights."""

import re

import numpy as np
import pytest

from zarrbench.genome.bases import ONE_HOT
from zarrbench.models.enformer.architecture import TINY, Architecture

pytestmark = pytest.mark.parity

# Small, but with the rows and the position features of the released model
LONG = Architecture(
    filters=(96, 96, 112, 128, 144, 168, 192), layers=2, heads=1, key_size=16, tracks=9
)
NORM = {"scale": "weight", "offset": "bias", "mean": "running_mean", "variance": "running_var"}
ATTENTION = {
    "query": "to_q.weight",
    "key": "to_k.weight",
    "value": "to_v.weight",
    "position": "to_rel_k.weight",
    "content_bias": "rel_content_bias",
    "position_bias": "rel_pos_bias",
    "kernel": "to_out.weight",
    "bias": "to_out.bias",
}
PERCEPTRON = {
    "wide_kernel": "1.weight",
    "wide_bias": "1.bias",
    "kernel": "4.weight",
    "bias": "4.bias",
}
PLACES = (
    (r"stem/convolution", "stem.0"),
    (r"stem/pointwise", "stem.1.fn"),
    (r"stem/pooling", "stem.2.to_attn_logits"),
    (r"tower/(\d+)/convolution", r"conv_tower.\1.0"),
    (r"tower/(\d+)/pointwise", r"conv_tower.\1.1.fn"),
    (r"tower/(\d+)/pooling", r"conv_tower.\1.2.to_attn_logits"),
    (r"transformer/(\d+)/attention", r"transformer.\1.0.fn"),
    (r"transformer/(\d+)/perceptron", r"transformer.\1.1.fn"),
    (r"final", "final_pointwise.1"),
    (r"human", "_heads.human.0"),
)


def name_of(name: str) -> str:
    """Their name of one of our weights."""
    place, part = name.rsplit("/", 1)
    their = next(re.sub(p, to, place) for p, to in PLACES if re.fullmatch(p, place))
    if "transformer" in name:
        if part in ("scale", "offset"):
            return f"{their}.0.{NORM[part]}"
        if "attention" in name:
            return f"{their}.1.{ATTENTION[part]}"
        return f"{their}.{PERCEPTRON[part]}"
    if part in NORM:
        return f"{their}.0.{NORM[part]}"
    normalises = not name.startswith(("stem/convolution", "human")) and "pooling" not in name
    return f"{their}{'.2' if normalises else ''}.{'bias' if part == 'bias' else 'weight'}"


def peer(module, enformer, released_gammas: bool):
    """Their network with our weights."""
    import torch

    sizes = enformer.architecture
    network = module.Enformer.from_hparams(
        dim=sizes.channels,
        depth=sizes.layers,
        heads=sizes.heads,
        attn_dim_key=sizes.key_size,
        output_heads={"human": sizes.tracks},
        target_length=sizes.output_bins,
        dim_divisible_by=128 if sizes.channels == 1536 else 4,
        use_tf_gamma=released_gammas,
    )
    theirs = network.state_dict()
    for name, array in enformer.arrays.items():
        if name == "positions":
            continue
        target = theirs.pop(name_of(name))
        # (width, input, output) is (output, input, width) there, sometimes with axes of 1
        axes = array if array.ndim == 1 or name.endswith("_bias") else array.T
        target.copy_(torch.from_numpy(axes.reshape(target.shape).copy()))
    left = {name for name in theirs if not name.startswith("_trunk.")}
    assert all(name.endswith("num_batches_tracked") for name in left)
    return network.eval()


def difference(ours: np.ndarray, network, codes: np.ndarray) -> float:
    """The largest difference, relative to the range of their output."""
    import torch

    with torch.inference_mode():
        theirs = network(torch.from_numpy(ONE_HOT[codes]), head="human").numpy()
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.05 * np.ptp(theirs)
    return float(np.abs(ours - theirs).max() / np.ptp(theirs))


def test_tiny(enformer_pytorch, make_enformer, random_codes):
    # Only the released model's own size has its features there: others get theirs
    features = enformer_pytorch.get_positional_embed(TINY.bins, TINY.value_size, "cpu", False)
    ours = make_enformer(TINY, features.numpy())
    codes = random_codes(2, TINY.input_length)
    assert difference(ours(codes), peer(enformer_pytorch, ours, False), codes) <= 1e-5


def test_small_with_the_released_position_features(enformer_pytorch, make_enformer, random_codes):
    codes = random_codes(1, LONG.input_length)
    ours = make_enformer(LONG)
    theirs = peer(enformer_pytorch, ours, True)
    # the last bit of float32 in a gamma density, whoever computes it, is worth about 2e-5 here
    assert difference(ours(codes), theirs, codes) <= 1e-4
    features = enformer_pytorch.get_positional_embed(LONG.bins, LONG.value_size, "cpu", True)
    assert difference(make_enformer(LONG, features.numpy())(codes), theirs, codes) <= 1e-5
    without = make_enformer(LONG, 0 * features.numpy())
    assert difference(without(codes), theirs, codes) > 1e-2


@pytest.mark.slow
def test_full_size(enformer_pytorch, make_enformer, random_codes):
    ours = make_enformer(Architecture())
    codes = random_codes(1, 196_608)
    assert difference(ours(codes), peer(enformer_pytorch, ours, True), codes) <= 1e-4
