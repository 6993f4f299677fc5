"""Changes of colour: each equals its published definition, as Pillow, colorsys and SciPy compute it."""

import colorsys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")

import numpy as np  # noqa: E402
from PIL import Image, ImageEnhance, ImageOps  # noqa: E402

from holotype.vision.data.augmentation import colour  # noqa: E402

LEVEL = 1 / 255


@pytest.fixture(scope="module")
def pictures():
    """Four pictures: noise, a dull one, few levels, and one colour."""
    draw = np.random.default_rng(0)
    noise = draw.integers(0, 256, (24, 31, 3))
    flat = np.full((24, 31, 3), 90)
    made = [noise, 60 + noise // 4, noise // 128 * 200, flat]
    return [Image.fromarray(one.astype(np.uint8), "RGB") for one in made]


def as_tensor(picture):
    return torch.from_numpy(np.asarray(picture).astype(np.float32)).permute(2, 0, 1) / 255


def check(function, by_pillow, pictures, levels, strengths):
    """Are all pictures within so many levels of what Pillow makes, each with a strength of its own?"""
    images = torch.stack([as_tensor(one) for one in pictures])
    for first in range(len(strengths)):
        own = [strengths[(first + at) % len(strengths)] for at in range(len(pictures))]
        got = function(images, torch.tensor(own, dtype=torch.float32)).clamp(0, 1)
        for one, picture, strength in zip(got, pictures, own, strict=True):
            wanted = as_tensor(by_pillow(picture, strength))
            assert float((one - wanted).abs().max()) <= levels * LEVEL + 1e-5, strength


@pytest.mark.parametrize(
    ("function", "enhancer", "levels"),
    [
        (colour.brightness, ImageEnhance.Brightness, 1),
        (colour.contrast, ImageEnhance.Contrast, 3),  # Pillow rounds the mean, which the factor multiplies
        (colour.saturation, ImageEnhance.Color, 3),
        (colour.sharpness, ImageEnhance.Sharpness, 3),
    ],
)
def test_what_pillow_enhances(pictures, function, enhancer, levels):
    check(
        function,
        lambda picture, factor: enhancer(picture).enhance(factor),
        pictures,
        levels,
        [0.01, 0.5, 1.0, 1.99],
    )


def test_solarize_and_posterize(pictures):
    check(
        lambda images, level: colour.solarize(images, level / 255),
        ImageOps.solarize,
        pictures,
        0,
        [1, 128, 200, 256],
    )
    check(colour.posterize, ImageOps.posterize, pictures, 0, [2, 4, 7, 8])


@pytest.mark.parametrize(
    ("function", "by_pillow", "levels"),
    [(colour.autocontrast, ImageOps.autocontrast, 1), (colour.equalize, ImageOps.equalize, 0)],
)
def test_what_depends_on_the_histogram(pictures, function, by_pillow, levels):
    check(lambda images, _: function(images), lambda picture, _: by_pillow(picture), pictures, levels, [0.0])


def test_grey(pictures):
    for picture in pictures:
        got = colour.grey(as_tensor(picture)[None])[0]
        wanted = torch.from_numpy(np.asarray(picture.convert("L")).astype(np.float32)) / 255
        assert float((got - wanted).abs().max()) <= LEVEL


def test_hue_turns_as_colorsys_does():
    images = torch.rand(3, 3, 7, 5, generator=torch.Generator().manual_seed(0))
    images[2, :, :2] = torch.tensor([0.0, 0.5, 1.0, 0.3, 0.3])  # greys, black and white among them
    turns = [0.1, -0.5, 0.25]
    got = colour.hue(images, torch.tensor(turns))
    for image, turn, turned in zip(images, turns, got, strict=True):
        for old, new in zip(image.flatten(1).T.tolist(), turned.flatten(1).T.tolist(), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*old)
            assert new == pytest.approx(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value), abs=1e-5)
    torch.testing.assert_close(colour.hue(images, torch.zeros(3)), images)


def test_blur_equals_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    images = torch.rand(2, 3, 20, 17, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigmas = [0.3, 2.0]
    got = colour.blur(images, torch.tensor(sigmas), side=7)
    for image, sigma, blurred in zip(images, sigmas, got, strict=True):
        wanted = ndimage.gaussian_filter(image.numpy(), (0, sigma, sigma), mode="mirror", radius=3)
        np.testing.assert_allclose(blurred.numpy(), wanted, atol=1e-6)


def test_small_images():
    for size in ((1, 1), (2, 5)):
        images = torch.rand(2, 3, *size)
        for function in (colour.sharpness, colour.contrast, colour.hue):
            assert function(images, torch.full((2,), 0.5)).shape == images.shape
        assert colour.equalize(images).shape == images.shape
