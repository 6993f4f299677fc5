"""Small images, folders and shards for the tests of image data."""

import io
import tarfile

import numpy as np
from PIL import Image


def picture(seed=0, size=(12, 10), mode="RGB"):
    """A picture of noise: (width, height)."""
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def encoded(seed=0, format="PNG", **options):
    file = io.BytesIO()
    picture(seed, **options).save(file, format)
    return file.getvalue()


def write(path, seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, **options).save(path)
    return path


def class_folder(root, counts, *, first=0):
    """`counts`: class -> how many; every image of the folder is another one."""
    seed = first
    for name, count in counts.items():
        for at in range(count):
            write(root / name / f"{at}.png", seed)
            seed += 1
    return root


def shard(path, members):
    """A tar of (name or TarInfo, content)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
