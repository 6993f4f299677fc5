"""Pictures of every kind become the right tensor; predictions name files and classes."""

import json
import struct
import sys
import zlib

import pytest

torch = pytest.importorskip("torch")
PIL = pytest.importorskip("PIL")
from PIL import Image, ImageDraw  # noqa: E402  # after the check that Pillow is there
from torch import nn  # noqa: E402

from holotype.errors import HolotypeError, MetadataError, MissingExtraError, ParameterError  # noqa: E402
from holotype.vision.data.preprocessing import _tensorflow1_bicubic  # noqa: E402
from holotype.vision.prediction import (  # noqa: E402
    ClassProbability,
    ImageError,
    ImagePrediction,
    Preprocessing,
    open_image,
    predict_images,
    preprocess,
)

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def plain(size, **fields):
    return Preprocessing(size=size, **PLAIN, **fields)


def gradient(width=40, height=30):
    """Every pixel different; red grows to the right, green downwards."""
    image = Image.new("RGB", (width, height))
    image.putdata(
        [
            (x * 255 // width, y * 255 // height, (x * 7 + y * 13) % 256)
            for y in range(height)
            for x in range(width)
        ]
    )
    return image


def as_list(image):
    return list(image.tobytes())


# Opening


def test_an_rgb_file_is_read_as_it_is(tmp_path):
    gradient().save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").tobytes() == gradient().tobytes()
    assert open_image(str(tmp_path / "a.png")).mode == "RGB"


def test_transparent_parts_are_white():
    image = Image.new("RGBA", (3, 1))
    image.putdata([(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 128)])
    assert as_list(open_image(image)) == [255, 0, 0, 255, 255, 255, 127, 127, 127]


def test_grey_with_alpha():
    image = Image.new("LA", (2, 1))
    image.putdata([(10, 255), (10, 0)])
    assert as_list(open_image(image)) == [10, 10, 10, 255, 255, 255]


def test_a_palette_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png")
    assert as_list(open_image(tmp_path / "a.png")) == [255, 0, 0, 0, 255, 0]
    image.save(tmp_path / "b.png", transparency=1)
    assert as_list(open_image(tmp_path / "b.png")) == [255, 0, 0, 255, 255, 255]


@pytest.mark.parametrize(
    ("mode", "pixel", "rgb"),
    [("L", 77, [77] * 3), ("1", 255, [255] * 3), ("CMYK", (0, 255, 255, 0), [255, 0, 0])],
)
def test_other_modes(mode, pixel, rgb):
    assert as_list(open_image(Image.new(mode, (1, 1), pixel))) == rgb


def write_grey_png_16(path, values):
    """A PNG of one row with 16 bits a pixel, written by hand."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + b"".join(struct.pack(">H", value) for value in values)
    header = struct.pack(">IIBBBBB", len(values), 1, 16, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )


def test_16_bits_keep_their_contrast(tmp_path):
    write_grey_png_16(tmp_path / "deep.png", [0, 257, 32768, 65535])
    assert as_list(open_image(tmp_path / "deep.png"))[::3] == [0, 1, 128, 255]
    wide = Image.new("I", (2, 1))
    wide.putdata([0, 65535])
    assert as_list(open_image(wide))[::3] == [0, 255]
    wide.putdata([0, 65536])
    with pytest.raises(ImageError, match="65535"):
        open_image(wide)


def test_floating_point_pixels_are_refused(tmp_path):
    Image.new("F", (2, 2)).save(tmp_path / "a.tiff")
    with pytest.raises(ImageError, match=r"a\.tiff.*floating-point"):
        open_image(tmp_path / "a.tiff")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    # What a camera held that way would have stored, so that the picture comes out the right way up.
    upright = gradient(24, 16)
    undo = {
        2: "FLIP_LEFT_RIGHT",
        3: "ROTATE_180",
        4: "FLIP_TOP_BOTTOM",
        5: "TRANSPOSE",
        6: "ROTATE_90",
        7: "TRANSVERSE",
        8: "ROTATE_270",
    }
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose[undo[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert open_image(tmp_path / "a.png").tobytes() == upright.tobytes()


def test_of_an_animation_the_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert as_list(open_image(tmp_path / "a.gif"))[:3] == [255, 0, 0]


def test_the_given_picture_is_left_as_it_is():
    image = Image.new("RGBA", (2, 2), (1, 2, 3, 4))
    opened = open_image(image)
    ImageDraw.Draw(opened).point((0, 0), (9, 9, 9))
    assert image.getpixel((0, 0)) == (1, 2, 3, 4)
    rgb = gradient()
    ImageDraw.Draw(open_image(rgb)).point((0, 0), (9, 9, 9))
    assert rgb.tobytes() == gradient().tobytes()


# Files that are no pictures


def bad_files(folder):
    gradient(200, 200).save(folder / "whole.png")
    data = (folder / "whole.png").read_bytes()
    (folder / "cut.png").write_bytes(data[: len(data) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "folder.png").mkdir()
    damaged = bytearray(data)
    damaged[60:70] = bytes(10)
    (folder / "damaged.png").write_bytes(damaged)
    return {
        "cut.png": "damaged",
        "empty.png": "not a picture",
        "text.jpg": "not a picture",
        "folder.png": "folder",
        "damaged.png": "damaged",
        "missing.png": "does not exist",
    }


def test_what_cannot_be_read_is_named(tmp_path):
    for name, words in bad_files(tmp_path).items():
        with pytest.raises(ImageError, match=words) as error:
            open_image(tmp_path / name)
        assert name in str(error.value) and error.value.given == str(tmp_path / name)
        assert isinstance(error.value, HolotypeError) and isinstance(error.value, ValueError)


def test_a_picture_too_large_to_be_meant_is_refused(tmp_path, monkeypatch):
    gradient(100, 100).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match=r"a\.png"):
        open_image(tmp_path / "a.png")


def test_without_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r'pip install "holotype\[vision\]"'):
        open_image("a.png")


# Cropping and resizing


@pytest.mark.parametrize(
    ("size", "fraction", "picture", "window"),
    [
        ((224, 224), 1.0, (640, 480), (80, 0, 560, 480)),
        ((224, 224), 0.875, (256, 256), (16, 16, 240, 240)),
        ((240, 240), 240 / 272, (272, 272), (16, 16, 256, 256)),
        ((260, 260), 260 / 292, (292, 400), (16, 70, 276, 330)),
        ((100, 200), 1.0, (400, 400), (0, 100, 400, 300)),
        ((200, 100), 0.5, (400, 400), (150, 100, 250, 300)),
        ((224, 224), 0.875, (1, 1000), (0, 500, 1, 501)),
    ],
)
def test_the_window_in_the_centre(size, fraction, picture, window):
    assert plain(size, crop_fraction=fraction).window(*picture) == window


@pytest.mark.parametrize("resampler", ["pillow", "tensorflow1"])
def test_a_picture_of_the_right_size_is_only_normalised(resampler):
    image = gradient(32, 32)
    expected = torch.tensor(as_list(image)).view(32, 32, 3).permute(2, 0, 1) / 255
    torch.testing.assert_close(preprocess(image, plain((32, 32), resampler=resampler)), expected)
    how = Preprocessing(size=(32, 32), mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0), resampler=resampler)
    found = preprocess(image, how)
    torch.testing.assert_close(found[1], (expected[1] - 0.2) / 0.25)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("resampler", ["pillow", "tensorflow1"])
@pytest.mark.parametrize("picture", [(1, 1), (3, 200), (1000, 7), (64, 64)])
@pytest.mark.parametrize("size", [(32, 32), (16, 48)])
def test_one_colour_stays_one_colour(resampler, picture, size):
    image = Image.new("RGB", picture, (255, 128, 0))
    found = preprocess(image, plain(size, resampler=resampler, crop_fraction=0.875))
    assert found.shape == (3, *size)
    expected = torch.tensor([1.0, 128 / 255, 0.0])[:, None, None].expand(3, *size)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("resampler", "rim"), [("pillow", 2), ("tensorflow1", 0)])
def test_what_is_cut_off_does_not_matter(resampler, rim):
    image = Image.new("RGB", (300, 100), "blue")
    image.paste("red", (100, 0, 200, 100))
    found = preprocess(image, plain((50, 50), resampler=resampler))
    red = torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, 50, 50 - 2 * rim)
    torch.testing.assert_close(found[:, :, rim : 50 - rim], red)


def test_tensorflow1_bicubic_against_its_own_output():
    # tf.compat.v1.image.resize_bicubic of TensorFlow 2.21 on these numbers.
    ramp = torch.tensor([[[0.0, 10, 20, 30, 40], [50, 60, 70, 80, 90], [5, 0, 255, 3, 9]]])
    smaller = torch.tensor([[[0.0, 16.299, 34.2557], [32.1875, 139.1044, 35.2588]]])
    larger = torch.tensor(
        [
            [
                [0.0, 6.2635, 14.4617, 21.8627, 28.1373, 36.5877, 41.0936],
                [43.418, 53.6712, 46.5994, 42.3221, 71.2232, 85.8014, 88.3546],
                [32.1875, 19.5364, 100.126, 162.8909, 61.8991, 41.299, 55.0624],
                [0.2539, -35.3016, 132.9494, 262.7567, 31.872, -23.9065, 1.0671],
            ]
        ]
    )
    torch.testing.assert_close(_tensorflow1_bicubic(ramp, 2, 3), smaller, atol=1e-3, rtol=0)
    torch.testing.assert_close(_tensorflow1_bicubic(ramp, 4, 7), larger, atol=1e-3, rtol=0)


@pytest.mark.parametrize("interpolation", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_every_interpolation(interpolation):
    found = preprocess(gradient(64, 64), plain((32, 32), interpolation=interpolation))
    assert found.shape == (3, 32, 32)
    assert found[0, :, -1].mean() > 0.9 > 0.1 > found[0, :, 0].mean()


# What a record says


def test_the_record_of_a_model_says_how():
    entry = {"preprocessing": {**PLAIN, "crop_fraction": 0.5}, "resolution": (32, 48)}
    assert Preprocessing.of(entry) == plain((32, 48), crop_fraction=0.5)

    class Info:
        preprocessing = entry["preprocessing"]
        resolution = (64, 64)

    assert Preprocessing.of(Info()) == plain((64, 64), crop_fraction=0.5)
    assert Preprocessing.of({**PLAIN, "size": 32, "crop_fraction": 0.5}) == plain((32, 32), crop_fraction=0.5)
    published = {"rgb_stats": {"mean": [0.5] * 3, "std": [0.25] * 3}, "resolution": (8, 8)}
    assert Preprocessing.of(published).std == (0.25, 0.25, 0.25)
    how = plain((8, 8))
    assert Preprocessing.of(how) is how


def test_the_resolution_that_a_network_was_loaded_for_counts():
    info = {"preprocessing": {**PLAIN, "size": 224}, "resolution": (96, 64)}
    assert Preprocessing.of(info).size == (96, 64)


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({}, "size, mean, std missing"),
        ({"resolution": (8, 8)}, "mean, std missing"),
        ({"preprocessing": PLAIN}, "size missing"),
        ({"preprocessing": {**PLAIN, "size": 8, "crop_fractoin": 1}}, "crop_fractoin[\\s\\S]*crop_fraction"),
        ({"preprocessing": {**PLAIN, "size": 8, "crop_fraction": 1.5}}, "crop_fraction"),
        ({"preprocessing": {**PLAIN, "size": 8, "interpolation": "bicubik"}}, "did you mean 'bicubic'"),
        ({"preprocessing": {**PLAIN, "size": 8, "resampler": "opencv"}}, "resampler"),
        (
            {"preprocessing": {**PLAIN, "size": 8, "resampler": "tensorflow1", "interpolation": "box"}},
            "bicubic",
        ),
        ({"preprocessing": {"mean": [0, 0], "std": [1, 1, 1], "size": 8}}, "mean: three"),
        ({"preprocessing": {"mean": [0, 0, 0], "std": [1, 0, 1], "size": 8}}, "std: three"),
        ({"preprocessing": {**PLAIN, "size": (8, -8)}}, "size"),
    ],
)
def test_a_record_that_does_not_hold_together(info, words):
    with pytest.raises(MetadataError, match=words):
        Preprocessing.of(info)


# Predicting


class Colours(nn.Module):
    """Logits that grow with red, green and blue; notes the batches it was given."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(4.0))
        self.batches = []

    def forward(self, images):
        assert not self.training and not torch.is_grad_enabled()
        assert images.dtype == self.scale.dtype
        self.batches.append(len(images))
        return images.mean((2, 3)) * self.scale


INFO = {
    "preprocessing": PLAIN,
    "resolution": (8, 8),
    "class_to_idx": {"green": 1, "blue": 2, "red": 0},
}


@pytest.fixture
def pictures(tmp_path):
    paths = []
    for colour in ["red", "blue", "green", "blue", "red"]:
        paths.append(tmp_path / f"{len(paths)}.png")
        Image.new("RGB", (20, 10), "lime" if colour == "green" else colour).save(paths[-1])
    return paths


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_every_picture_in_order(pictures, batch_size):
    net = Colours().train()
    found = predict_images(net, INFO, pictures, batch_size=batch_size)
    assert [one.top.name for one in found] == ["red", "blue", "green", "blue", "red"]
    assert [one.path for one in found] == [str(path) for path in pictures]
    assert sum(net.batches) == 5 and max(net.batches) <= batch_size
    assert net.training  # as it was
    expected = torch.tensor([4.0, 0.0, 0.0]).softmax(0)
    assert found[0].top == ClassProbability("red", pytest.approx(expected[0].item(), abs=1e-6))
    assert sum(one.probability for one in found[0].classes) == pytest.approx(1.0)


def test_one_path_and_top_k(pictures):
    found = predict_images(Colours(), INFO, str(pictures[0]), top_k=2)
    assert [len(one.classes) for one in found] == [2]
    assert len(predict_images(Colours(), INFO, pictures[0], top_k=50)[0].classes) == 3
    assert predict_images(Colours(), INFO, []) == []
    assert predict_images(Colours(), INFO, (path for path in pictures[:2]))[1].top.name == "blue"


def test_without_class_names_the_index(pictures):
    info = {key: value for key, value in INFO.items() if key != "class_to_idx"}
    assert predict_images(Colours(), info, pictures[1])[0].top.name == "2"


def test_half_precision_networks(pictures):
    assert predict_images(Colours().bfloat16(), INFO, pictures[0])[0].top.name == "red"


def test_a_bad_picture_is_named_and_the_network_stays_as_it_was(pictures, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no")
    net = Colours().train()
    with pytest.raises(ImageError, match=r"bad\.png"):
        predict_images(net, INFO, [*pictures, tmp_path / "bad.png"])
    assert net.training


@pytest.mark.parametrize("wrong", [{"top_k": 0}, {"batch_size": 0}, {"top_k": 1.5}, {"batch_size": True}])
def test_wrong_numbers(pictures, wrong):
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        predict_images(Colours(), INFO, pictures, **wrong)


def test_a_prediction_goes_into_json():
    prediction = ImagePrediction("a.png", (ClassProbability("red", 0.75),))
    assert json.loads(json.dumps(prediction.to_dict())) == {
        "path": "a.png",
        "classes": [{"name": "red", "probability": 0.75}],
    }
