"""For every size of image and every scale of the network."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from holotype.vision.models.efficientnet_lite import (  # noqa: E402  # after the check that torch is there
    EfficientNet_Lite,
    SamePadConv2d,
    scaled_channels,
    scaled_stages,
)


@given(channels=st.integers(1, 2000), width=st.floats(0.05, 5.0))
def test_scaled_channels_are_multiples_of_eight_near_what_was_asked(channels, width):
    found = scaled_channels(channels, width)
    assert found % 8 == 0 and found >= 8
    assert 0.9 * channels * width <= found <= max(8, channels * width + 8)


@given(width=st.floats(0.1, 3.0), depth=st.floats(0.1, 3.0), more=st.floats(1.0, 2.0))
def test_a_larger_scale_is_never_a_smaller_network(width, depth, more):
    for less, larger in zip(scaled_stages(width, depth), scaled_stages(width, depth * more), strict=True):
        assert 1 <= less.repeats <= larger.repeats and less.channels == larger.channels


@settings(deadline=None)
@given(
    kernel=st.sampled_from([1, 2, 3, 5, 7]),
    stride=st.integers(1, 4),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
def test_same_padding_gives_one_output_a_stride(kernel, stride, height, width):
    if stride > kernel:
        return  # pixels would be skipped; no such convolution is made here
    found = SamePadConv2d(1, 1, kernel, stride)(torch.zeros(1, 1, height, width))
    assert found.shape[2:] == (math.ceil(height / stride), math.ceil(width / stride))


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 5),
    height=st.integers(32, 100),
    width=st.integers(32, 100),
    padding=st.sampled_from(["symmetric", "same"]),
    num_classes=st.integers(0, 7),
)
def test_shapes_hold_for_every_size(batch, channels, height, width, padding, num_classes):
    with torch.device("meta"):
        net = EfficientNet_Lite(num_classes, channels, padding=padding, size=(height, width)).eval()
        images = torch.empty(batch, channels, height, width)
    assert net.forward_features(images).shape == (batch, 1280, math.ceil(height / 32), math.ceil(width / 32))
    assert net(images).shape == (batch, num_classes or 1280)
