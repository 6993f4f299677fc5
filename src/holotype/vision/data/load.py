"""Image datasets: folders of classes, shards, COCO files, lists, and those that a zoo lists.

What `load_image_dataset` takes::

    digits                                           a registered dataset
    photos/                                          train/ val/ test/, or one subfolder a class
    {train: A, val: B, test: C}                      each a folder, a shard, a list or a COCO mapping
    {images: A, split: {fractions: [0.8, 0.1, 0.1], seed: 0}}

and each of A, B, C is one of::

    photos/train                                     a folder, one subfolder a class (or none: unlabelled)
    shards-{000..012}.tar, shards-*.tar              WebDataset shards
    train.csv, train.tsv                             lines `path,label`
    {images: val2017, annotations: instances.json}   boxes, as COCO writes them
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from holotype.datasets import fetch_dataset, get_dataset_info, is_registered, list_datasets
from holotype.errors import ConfigError, DataError, HolotypeError, UnknownDatasetError
from holotype.mappings import key_problems, read_mapping
from holotype.names import nearest
from holotype.splits import PARTS, fraction_problem
from holotype.text import bulleted, did_you_mean
from holotype.vision.data.coco import read_coco
from holotype.vision.data.dataset import HASHED_BYTES, ImageDataset, assembled, divided
from holotype.vision.data.folder import LIST_ENDINGS, has_classes, parts_of, read_folder, read_list
from holotype.vision.data.shards import expand_shards, is_shards, read_shards
from holotype.vision.data.table import Found, ImageTable, LabelledBoxes, PixelSource

if TYPE_CHECKING:
    from holotype.progress import Progress

__all__ = [
    "HASHED_BYTES",
    "ImageDataset",
    "ImageTable",
    "LabelledBoxes",
    "image_data_kinds",
    "image_data_problems",
    "load_image_dataset",
]

_SPLIT = {"fractions": (0.8, 0.1, 0.1), "seed": 0}
# `digits` is published undivided; this is how it is divided here.
_DIGITS_SPLIT = {"fractions": (0.6, 0.2, 0.2), "seed": 0}
_KEYS = ("name", *PARTS, "images", "annotations", "split")
_HOW = "images are a name, a folder, {train:, val:, test:} or {images:, split:}"


def load_image_dataset(
    spec: str | Path | Mapping[str, Any],
    *,
    relative_to: str | Path | None = None,
    progress: Progress | bool | None = None,
) -> ImageDataset:
    """Read an image dataset: what there is, not the images themselves.

    Contents are hashed (up to `HASHED_BYTES` in all), so that equal images in two parts are refused.

    Args:
        spec: see the top of this module; also a YAML or JSON file that holds such a mapping.
        relative_to: the folder that paths start from; by default the working directory.
        progress: as for `holotype.store.fetch.fetch`.

    Raises:
        UnknownDatasetError: no dataset, and no file or folder, has that name.
        ConfigError: a mapping that makes no dataset; it lists every problem.
        DataError: files that cannot be used; classes that differ between parts.
        LeakageError: an image is in two parts.
        StoreError: a file of a registered dataset cannot be fetched.
    """
    mapping, folder, name = _as_mapping(spec, Path(relative_to or "."))
    problems = _mapping_problems(mapping)
    if problems:
        raise ConfigError(f"the images cannot be used:\n{bulleted(problems)}", problems=problems, given=spec)
    if not any(key in mapping for key in (*PARTS, "images")):
        return _registered(mapping["name"], progress)
    if "images" in mapping:
        given: Any = mapping["images"]
        if "annotations" in mapping:
            given = {"images": given, "annotations": mapping["annotations"]}
        found = _read(given, folder)
        if mapping.get("split") is None:
            return assembled(name, {"train": found})
        return divided(name, found, {**_SPLIT, **mapping["split"]})
    return assembled(name, {part: _read(mapping[part], folder) for part in PARTS if part in mapping})


def image_data_problems(spec: object, *, relative_to: str | Path | None = None) -> list[str]:
    """What is wrong with a `spec` for `load_image_dataset`, a line each.

    Nothing is read or fetched but a YAML file; only whether files are there is looked at.
    """
    if not isinstance(spec, (str, Path, Mapping)):
        return [f"expected a name, a path or a mapping, got {spec!r}; {_HOW}"]
    try:
        mapping, folder, _ = _as_mapping(spec, Path(relative_to or "."))
    except ConfigError as error:
        return list(error.problems) or [str(error)]
    except HolotypeError as error:
        return [str(error)]
    problems = _mapping_problems(mapping)
    if problems:
        return problems
    for key in (*PARTS, "images", "annotations"):
        value = mapping.get(key)
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        for at, path in inner:
            if path is not None:
                wrong = _missing(path, folder)
                problems += [f"{key}{'.' if at else ''}{at}: {wrong}"] if wrong else []
    return problems


def image_data_kinds(spec: object, *, relative_to: str | Path | None = None) -> dict[str, str | None]:
    """What the parts of a `spec` without problems are labelled with, as far as can be told without reading.

    Returns:
        part -> ``"classes"``, ``"boxes"``, ``"unlabelled"``, or None where only reading it tells; what is not
        divided is ``"train"``. Empty for a registered dataset.

    Raises:
        As `load_image_dataset`.
    """
    if not isinstance(spec, (str, Path, Mapping)):
        return {}
    mapping, folder, _ = _as_mapping(spec, Path(relative_to or "."))
    if "images" in mapping:
        kind = "boxes" if "annotations" in mapping else _kind_of(mapping["images"], folder)
        return dict.fromkeys(PARTS if mapping.get("split") else ("train",), kind)
    return {part: _kind_of(mapping[part], folder) for part in PARTS if part in mapping}


def _kind_of(given: object, folder: Path) -> str | None:
    if isinstance(given, Mapping):
        return "boxes"
    path = folder / Path(str(given)).expanduser()
    if not path.is_dir():
        return None
    return "classes" if has_classes(path) else "unlabelled"


# -- what is meant -----------------------------------------------------------------------------------------


def _as_mapping(spec: str | Path | Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], Path, str]:
    """The mapping that is meant, the folder its paths start from, and a name for it all."""
    if isinstance(spec, Mapping):
        mapping = {str(key): value for key, value in spec.items() if value is not None}
        if set(mapping) == {"name"} and _is_path(mapping["name"]):
            return _as_mapping(mapping["name"], folder)
        first = next((mapping[key] for key in (*PARTS, "images") if key in mapping), "images")
        first = first.get("images", "images") if isinstance(first, Mapping) else first
        return mapping, folder, str(mapping.get("name") or Path(str(first)).stem or "images")
    if isinstance(spec, str) and is_registered(spec, "images"):
        return {"name": spec}, folder, spec  # a folder of that name is written ./name
    path = folder / Path(spec).expanduser()
    name = path.resolve().name
    if path.is_dir():
        if (path / "dataset.yaml").is_file():
            return _from_file(path / "dataset.yaml", name)
        parts = parts_of(path)
        return (dict(parts) if parts else {"images": path}), folder, name
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        return _from_file(path, path.stem)
    if path.is_file() or is_shards(str(spec)):
        return {"images": str(spec)}, folder, path.name.partition(".")[0]
    if isinstance(spec, Path) or os.sep in spec or spec.startswith((".", "~")) or path.suffix:
        raise DataError(_missing(spec, folder) or f"{path} cannot be used.", given=str(spec))
    known = list_datasets(holds="images")
    raise UnknownDatasetError(
        f"no dataset of images, and no folder, named {spec!r}.",
        given=spec,
        nearest=nearest(spec, known),
        hint=f"Registered are {', '.join(known)}; {_HOW}.",
    )


def _from_file(path: Path, name: str) -> tuple[dict[str, Any], Path, str]:
    mapping = {str(key): value for key, value in read_mapping(path).items() if value is not None}
    return mapping, path.parent, str(mapping.get("name", name))


def _mapping_problems(mapping: Mapping[str, Any]) -> list[str]:
    problems = key_problems(mapping, _KEYS)
    parts = [part for part in PARTS if part in mapping]
    if "name" in mapping and not isinstance(mapping["name"], str):
        problems.append(f"name: expected text, got {mapping['name']!r}")
    elif not parts and "images" not in mapping:
        if "name" not in mapping:
            problems.append(f"no images: {_HOW}")
        elif not is_registered(mapping["name"], "images"):
            known = list_datasets(holds="images")
            problems.append(
                f"name: no dataset of images named {mapping['name']!r}{did_you_mean(mapping['name'], known)}"
            )
        problems += [f"{key}: {mapping['name']!r} is divided already" for key in ("split",) if key in mapping]
    if parts and "images" in mapping:
        problems.append(f"images: either this or {', '.join(parts)}")
    if parts and "split" in mapping:
        problems.append(f"split: the images are divided already, into {', '.join(parts)}")
    if "annotations" in mapping and "images" not in mapping:
        problems.append("annotations: only beside images; or {train: {images: DIR, annotations: FILE}}")
    for key in ("images", "annotations"):
        nested = key == "images" and isinstance(mapping.get(key), Mapping) and "annotations" not in mapping
        if key in mapping and not _is_path(mapping[key]) and not nested:
            problems.append(f"{key}: expected a path, got {mapping[key]!r}")
    for key in (*parts, "images"):
        value = mapping.get(key)
        if isinstance(value, Mapping):
            wrong = [one for one in ("images", "annotations") if not _is_path(value.get(one))]
            wrong += [str(one) for one in value if one not in ("images", "annotations")]
            if wrong:
                problems.append(f"{key}: expected {{images: DIR, annotations: FILE}}, got {dict(value)!r}")
        elif key in parts and not _is_path(value):
            problems.append(f"{key}: expected a path or {{images: DIR, annotations: FILE}}, got {value!r}")
    if "split" in mapping:
        problems += _split_problems(mapping["split"])
    return problems


def _split_problems(split: object) -> list[str]:
    if not isinstance(split, Mapping):
        return [f"split: expected a mapping such as {{fractions: [0.8, 0.1, 0.1], seed: 0}}, got {split!r}"]
    problems = key_problems(split, tuple(_SPLIT), "split")
    seed = split.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        problems.append(f"split.seed: a whole number from 0, not {seed!r}")
    wrong = fraction_problem(split.get("fractions", _SPLIT["fractions"]))
    return [*problems, f"split.fractions: {wrong}"] if wrong else problems


def _is_path(value: object) -> bool:
    return isinstance(value, (str, os.PathLike)) and bool(str(value))


def _missing(path: str | os.PathLike[str], folder: Path) -> str | None:
    """What is wrong with a path, or None."""
    full = folder / Path(path).expanduser()
    if full.exists():
        return None
    if is_shards(str(path)):
        try:
            expand_shards(str(full))
        except DataError as error:
            return str(error)
        return None
    there = [one.name for one in full.parent.iterdir()] if full.parent.is_dir() else []
    return f"{str(path)!r} does not exist{did_you_mean(full.name, there)}"


# -- reading -----------------------------------------------------------------------------------------------


def _read(given: str | os.PathLike[str] | Mapping[str, Any], folder: Path) -> Found:
    if isinstance(given, Mapping):
        return read_coco(*(folder / Path(given[key]).expanduser() for key in ("images", "annotations")))
    path = folder / Path(given).expanduser()
    if path.is_dir():
        return read_folder(path)
    if is_shards(str(path)):
        return read_shards(str(path))
    if path.suffix.lower() in LIST_ENDINGS:
        return read_list(path)
    raise DataError(
        _missing(given, folder) or f"{path} is no folder, no .tar and no list (.csv, .tsv).",
        given=str(given),
        hint="Boxes: {images: DIR, annotations: FILE.json}." if path.suffix == ".json" else None,
    )


# -- registered datasets -----------------------------------------------------------------------------------


def _registered(name: str, progress: Progress | bool | None) -> ImageDataset:
    info = get_dataset_info(name)
    files = fetch_dataset(info, progress=progress)
    if "pixels" in files:
        found = _read_pixels(files["pixels"], info.name)
        found.pinned = [file.sha256 for file in info.files]
        return divided(info.name, found, _DIGITS_SPLIT, notes=info.notes, info=info)
    shards = {role.removesuffix("_images"): read_shards(str(path)) for role, path in files.items()}
    if "images" in shards:
        return divided(info.name, shards["images"], _SPLIT, notes=info.notes, info=info)
    return assembled(
        info.name, {part: shards[part] for part in PARTS if part in shards}, notes=info.notes, info=info
    )


def _read_pixels(path: Path, name: str) -> Found:
    """Lines of comma-separated numbers: the pixels of a square grey image, 0 … 16, then its class."""
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            rows = [line.split(",") for line in file]
            table = np.array(rows, np.float64).reshape(len(rows), -1)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{name}: {path} cannot be read: {error}.", given=str(path)) from error
    fits = table.size > 0 and bool(((table >= 0) & (table < 1000)).all())
    values, labels = table[:, :-1], (table[:, -1] if fits else table[:, :0]).astype(np.int64)
    side = round(values.shape[1] ** 0.5)
    if not fits or side < 1 or side * side != values.shape[1] or values.max() > 16:
        raise DataError(f"{name}: {path} does not hold square images of 0 … 16.", given=str(path))
    pixels = np.rint(values * (255 / 16)).astype(np.uint8).reshape(-1, side, side)
    return Found(
        where=name,
        names=[f"{at:04d}" for at in range(len(pixels))],
        source=PixelSource(pixels),
        sizes_bytes=[side * side] * len(pixels),
        labels=[str(label) for label in labels],
        classes=tuple(str(label) for label in range(int(labels.max()) + 1)),
    )
