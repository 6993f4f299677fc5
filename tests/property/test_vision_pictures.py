"""For every picture and every size: the window fits, the tensor has its shape, damage is an ImageError."""

import io
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")
from PIL import Image  # noqa: E402  # after the check that Pillow is there

from holotype.vision.data.preprocessing import _tensorflow1_weights  # noqa: E402
from holotype.vision.prediction import ImageError, Preprocessing, open_image, preprocess  # noqa: E402

sides = st.integers(1, 3000)
targets = st.tuples(st.integers(1, 64), st.integers(1, 64))
fractions = st.floats(0.01, 1.0)


def plain(size, **fields):
    return Preprocessing(size=size, mean=(0, 0, 0), std=(1, 1, 1), **fields)


@given(width=sides, height=sides, size=targets, fraction=fractions)
def test_the_window_fits_is_centred_and_has_the_targets_proportions(width, height, size, fraction):
    left, top, right, bottom = plain(size, crop_fraction=fraction).window(width, height)
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert abs(left - (width - right)) <= 1 and abs(top - (height - bottom)) <= 1
    scale = min(width / size[1], height / size[0]) * fraction
    assert abs((right - left) - max(1, size[1] * scale)) <= 1
    assert abs((bottom - top) - max(1, size[0] * scale)) <= 1


@given(size=st.sampled_from([224, 240, 260]), width=st.integers(32, 2000), height=st.integers(32, 2000))
def test_a_crop_padding_of_32_pixels_is_exact(size, width, height):
    # The published evaluation keeps size / (size + 32) of the shorter side, rounded down.
    left, top, right, bottom = plain(size, crop_fraction=size / (size + 32)).window(width, height)
    kept = size * min(width, height) // (size + 32)
    assert (right - left, bottom - top) == (kept, kept)
    assert (left, top) == ((width - kept + 1) // 2, (height - kept + 1) // 2)


@settings(max_examples=50, deadline=None)
@given(
    mode=st.sampled_from(["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "HSV", "I", "I;16"]),
    picture=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    size=targets,
    resampler=st.sampled_from(["pillow", "tensorflow1"]),
)
def test_every_mode_gives_finite_pixels(mode, picture, size, resampler):
    found = preprocess(Image.new(mode, picture), plain(size, resampler=resampler))
    assert found.shape == (3, *size) and found.dtype == torch.float32
    assert found.isfinite().all()


@given(length=st.integers(1, 200), target=st.integers(1, 200))
def test_resizing_weights_sum_to_one_and_keep_an_equal_size_as_it_is(length, target):
    weights = _tensorflow1_weights(length, target)
    torch.testing.assert_close(weights.sum(1), torch.ones(target), atol=1e-5, rtol=0)
    if length == target:
        assert torch.equal(weights, torch.eye(length))


def files():
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        buffer = io.BytesIO()
        Image.linear_gradient("L").resize((40, 30)).convert("RGB").save(buffer, kind)
        yield buffer.getvalue()


FILES = list(files())


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_an_image_error_or_a_picture(tmp_path_factory, data):
    content = bytearray(data.draw(st.sampled_from(FILES)))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            content[data.draw(st.integers(0, min(len(content), 200) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "picture"
    path.write_bytes(content)
    try:
        opened = open_image(path)
    except ImageError as error:
        assert "picture" in str(error) and error.given == str(path)
    else:
        assert opened.mode == "RGB" and math.prod(opened.size) > 0
