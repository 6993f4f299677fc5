"""``holotype info``: prints `get_model_info`, `get_pretrained_metadata`, `inspect_file`, `measure_model`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.catalog.registry import default_registry as registry
from holotype.cli.zoos import zoo_as_dict, zoo_as_text
from holotype.errors import UnknownModelError
from holotype.frozen import thaw
from holotype.names import nearest
from holotype.options import from_1
from holotype.printing import BOLD, DIM, RED, coloured, fields, print_json, prose, table
from holotype.records import ModelInfo, PretrainedMetadata, ZooInfo
from holotype.text import clean, counted, number, plain, rate

if TYPE_CHECKING:
    from holotype.weights.image_cost import Measurement

_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    what = "an architecture, a pretrained entry, a zoo, a weight file, or a run's folder"
    parser.add_argument("names", nargs="+", metavar="NAME", help=what)
    parser.add_argument("--params", action="store_true", help="count the parameters (imports torch, once)")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="count the multiplications of an image model, and measure its speed here",
    )
    parser.add_argument(
        "--batch", type=from_1, metavar="N", help="images at once (with --measure; default: 1)"
    )
    parser.add_argument("--device", metavar="DEVICE", help="where to measure it (default: cpu)")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print all that is known of each name."""
    wrong = _problem(arguments)
    if wrong:
        print(f"holotype info: {wrong}", file=sys.stderr)
        return 2
    records = [_record(name, count=arguments.params) for name in arguments.names]
    measured = _measured(arguments) if arguments.measure else []
    if arguments.json:
        data = [zoo_as_dict(r) if isinstance(r, ZooInfo) else r.to_dict() for r in records]
        for one, found in zip(data, measured, strict=False):
            one["measured"] = found.to_dict()
        print_json(data[0] if len(data) == 1 else data)
    else:
        for at, record in enumerate(records):
            if at:
                print()
            _print(record)
            if measured:
                print(_cost(measured[at]))
    return 1 if any(isinstance(record, ModelInfo) and record.problem for record in records) else 0


def _problem(arguments: argparse.Namespace) -> str | None:
    """What is wrong with the options, or None."""
    for option, value in (("--batch N", arguments.batch), ("--device", arguments.device)):
        if value is not None and not arguments.measure:
            return f"{option} goes with --measure"
    return None


def _measured(arguments: argparse.Namespace) -> list[Measurement]:
    from holotype.weights.image_cost import measure_model

    batch, device = arguments.batch or 1, arguments.device or "cpu"
    return [measure_model(name, batch=batch, device=device) for name in arguments.names]


def _record(name: str, *, count: bool) -> Any:
    """The record of an architecture, an entry, a weight file, the weights of a run, or a zoo."""
    if not registry.exists(name):
        if registry.pretrained_exists(name):
            return registry.get_pretrained_metadata(name)
        for file in (Path(name), Path(name, "model.safetensors")):
            if file.is_file():
                from holotype.weights.inspect import inspect_file

                return inspect_file(file)
    info = _find(name)
    if isinstance(info, ModelInfo) and count and info.params is None and info.problem is None:
        registry.count_parameters(name)
        info = registry.get_model_info(name)
    return info


def _print(record: Any) -> None:
    if isinstance(record, ZooInfo):
        print(zoo_as_text(record))
    elif isinstance(record, ModelInfo):
        _model(record)
    elif isinstance(record, PretrainedMetadata):
        _pretrained(record)
    else:
        _weight_file(record)


def _find(name: str) -> ModelInfo | ZooInfo:
    """`get_model_info`, or the zoo of that name; the error also suggests pretrained entries."""
    try:
        return registry.get_model_info(name)
    except UnknownModelError as error:
        zoo = next((zoo for zoo in registry.list_zoos() if zoo.name == name.strip().lower()), None)
        if zoo is not None:
            return zoo
        near = nearest(name, [*error.nearest, *registry.list_pretrained_models()])
        if not set(near) - set(error.nearest):
            raise
        raise UnknownModelError(
            f"no architecture or pretrained entry named {name!r}.",
            given=name,
            nearest=near,
            hint="See them all: holotype list, holotype list --pretrained",
        ) from None


def _model(info: ModelInfo) -> None:
    print(coloured(info.qualified_name, BOLD))
    if info.problem is not None:
        sys.stdout.flush()
        print(coloured(f"cannot be used: {clean(info.problem)}", RED))
    params = number(info.params) if info.params is not None else "not counted yet (--params counts)"
    where = f"{info.file}:{info.line}" if info.file and info.line else info.file
    pairs: list[tuple[str, object]] = [
        ("description", info.description),
        ("task", info.task),
        ("features", ", ".join(info.features)),
        ("complexity", info.complexity),
    ]
    pairs += [
        (key.replace("_", " "), _value(value)) for key, value in info.metadata.items() if key != "params"
    ]
    pairs += [
        ("parameters", params),
        ("pretrained", ", ".join(info.pretrained)),
        ("class" if info.kind != "builder" else "function", info.class_name),
        ("module", info.module),
        ("file", where),
    ]
    if info.aliases:
        pairs.append(("aliases", ", ".join(info.aliases)))
    print(fields(pairs))
    if info.parameters:
        print()
        rows = [
            (p.name, p.annotation or "–", "required" if p.required else f"{p.default_source}")
            for p in info.parameters
        ]
        print(table(("PARAMETER", "TYPE", "DEFAULT"), rows))
        if info.open_parameters:
            print(coloured("and any further keyword", DIM))
    elif info.parameters is None and info.problem is None:
        print(coloured("its parameters are known once it has been imported", DIM))
    if info.docstring:
        print(f"\n{prose(info.docstring)}")


def _pretrained(entry: PretrainedMetadata) -> None:
    print(coloured(entry.qualified_name, BOLD))
    size = f"{entry.resolution[0]} × {entry.resolution[1]}" if entry.resolution else None
    pairs: list[tuple[str, object]] = [
        ("description", entry.description),
        ("architecture", entry.network),
        ("tag", entry.tag),
        ("task", entry.task),
        ("resolution", size),
        ("classes", entry.num_classes),
        ("parameters", number(entry.params)),
        ("dataset", entry.dataset),
        ("license", entry.license),
        ("paper", entry.paper),
        ("metrics", "; ".join(_metric(metric) for metric in entry.metrics)),
        ("config", _value(entry.config)),
        ("preprocessing", _value(entry.preprocessing)),
    ]
    pairs += [(key.replace("_", " "), _value(value)) for key, value in entry.metadata.items()]
    print(fields(pairs))
    print()
    for format, file in entry.formats.items():
        about = f"{file.file_size:.1f} MiB" if file.file_size else "size not given"
        print(f"{coloured(format, BOLD)}  {about}")
        print(f"    {plain(entry.url_of(format))}")
        print(f"    sha256 {file.sha256 or 'not given: loading is refused'}")


def _weight_file(file: Any) -> None:
    print(coloured(plain(file.path), BOLD))
    known = ("name", "task", "license", "dataset", "holotype_version", "config_fingerprint")
    pairs: list[tuple[str, object]] = [
        ("format", file.format),
        ("size", f"{number(file.size_bytes)} bytes"),
        ("tensors", number(len(file.tensors))),
        ("numbers", number(file.params)),
        ("dtypes", ", ".join(f"{count} {dtype}" for dtype, count in file.dtypes.items())),
        ("architecture", file.architecture or "not recorded"),
        ("config", _value(file.config)),
    ]
    pairs += [(key.replace("_", " "), file.record[key]) for key in known if key in file.record]
    pairs += [(_value(key), _cut(_value(value))) for key, value in file.record.items() if key not in known]
    if file.state:
        pairs.append(("state", file.state))
    if file.other_states:
        pairs.append(("other states", ", ".join(file.other_states)))
    if file.left_out:
        pairs.append(("no plain data", ", ".join(file.left_out)))
    if file.holds_code:
        pairs.append(("holds code", "loading it would run it"))
    print(fields(pairs))
    if file.tensors:
        shown = file.tensors[:_SHOWN]
        print()
        rows = [(t.name, t.dtype, " × ".join(map(str, t.shape)) or "–") for t in shown]
        print(table(("TENSOR", "DTYPE", "SHAPE"), rows))
        if len(file.tensors) > len(shown):
            print(coloured(f"and {len(file.tensors) - len(shown)} more (--json has all)", DIM))


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:199]}…"


def _metric(metric: object) -> str:
    """``auroc 0.69 (bernett, test)``."""
    if not isinstance(metric, Mapping) or not {"name", "value"} <= set(metric):
        return _value(metric)
    rest = ", ".join(_value(value) for key, value in metric.items() if key not in ("name", "value", "source"))
    return f"{metric['name']} {_value(metric['value'])}" + (f" ({rest})" if rest else "")


def _value(value: object) -> str:
    value = thaw(value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={_value(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_value(item) for item in value)
    return plain(value)


def _cost(found: Measurement) -> str:
    """The figures, and the conditions of the measurement."""
    images = counted(found.batch, "image")
    here = f"{found.device}, {counted(found.threads, 'thread')}"
    rows: list[tuple[str, object]] = [
        ("images", f"{found.size[0]} × {found.size[1]}, {found.dtype}"),
        ("parameters", number(found.params)),
        ("MACs", None if found.macs is None else f"{_short(found.macs)} an image"),
        ("activations", f"{_bytes(found.training_bytes)} kept to train on {images}"),
        ("", f"{_bytes(found.inference_bytes)} at most to run on {images}"),
        ("speed", f"{rate(found.images_per_s)} images/s, {images} at once"),
        ("", f"{here}, torch {found.torch}; median of {found.batches}"),
    ]
    return f"\n{coloured('measured', BOLD)}\n{fields(rows)}"


def _short(value: int) -> str:
    for size, sign in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if value >= size:
            return f"{value / size:.3g} {sign}"
    return f"{value:,}"


def _bytes(value: int | None) -> str:
    return "unknown" if value is None else f"{value / 2**20:,.1f} MiB"
