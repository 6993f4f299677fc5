"""Put trained interaction models into the package: `python scripts/publish_proteins.py RUN=TAG …`.

Each run's weights are copied to `src/holotype/proteins/models/trained/`, under the name of their
architecture and the tag, and the table beside them is written anew from what the files themselves record.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

FOLDER = Path(__file__).parents[1] / "src/holotype/proteins/models/trained"
LARGEST_BYTES = 4 * 2**20
HEAD = """\
The pretrained entries that were trained here, and whose weights lie beside this table.

`scripts/publish_proteins.py` writes it from the headers of the files, which hold more: the whole recipe,
digests of the data, the commit, the command, the environment.
"""
SHOWN = ("auroc", "average_precision", "accuracy", "mcc", "ece")


def main(arguments: list[str]) -> None:
    """Copy what is named, then write the table of all that is there."""
    FOLDER.mkdir(exist_ok=True)
    for argument in arguments:
        run, _, tag = argument.partition("=")
        weights = Path(run) / "model.safetensors"
        record = header(weights)
        name = f"{record['architecture'].rpartition('/')[2]}_{tag}"
        if weights.stat().st_size > LARGEST_BYTES:
            raise SystemExit(f"{weights} is larger than {LARGEST_BYTES} bytes")
        if record["lineage"]["code"]["dirty"] is not False:
            raise SystemExit(f"{weights} was trained with code that no commit has")
        shutil.copyfile(weights, FOLDER / f"{name}.safetensors")
        print(name, weights.stat().st_size, "bytes")
    rows = [f"# {line}".rstrip() for line in HEAD.splitlines()]
    for file in sorted(FOLDER.glob("*.safetensors")):
        rows += ["", *toml(file.stem, row(file))]
    (FOLDER / "pretrained.toml").write_text("\n".join(rows) + "\n", encoding="utf-8")


def toml(name: str, table: Mapping[str, Any]) -> list[str]:
    """The lines of a table, and of the tables in it."""
    lines = [f"[{name}]"]
    inner = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            inner[key] = value
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            lines += [f"{key} = [", *(f"  {inline(one)}," for one in value), "]"]
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    for key, value in inner.items():
        lines += ["", *toml(f"{name}.{key}", value)]
    return lines if len(lines) > 1 and lines[1] else lines[2:]  # nothing but tables in it


def inline(table: Mapping[str, Any]) -> str:
    """A table in one line."""
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items()) + " }"


def header(path: Path) -> dict[str, Any]:
    """What a weight file says of itself, JSON decoded."""
    with safe_open(path, framework="numpy") as file:
        texts = file.metadata()
    return {key: decoded(text) for key, text in texts.items()}


def decoded(text: str) -> Any:
    """JSON, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def row(path: Path) -> dict[str, Any]:
    """An entry, out of its file."""
    record = header(path)
    network = record["architecture"].rpartition("/")[2]
    encoders = record["encoder"] if isinstance(record["encoder"], list) else [record["encoder"]]
    names = [encoder["encoder"].rpartition("/")[2] for encoder in encoders]
    lineage = record["lineage"]
    with safe_open(path, framework="numpy") as file:
        learnt = [key for key in file.keys() if not key.startswith("standardization.")]  # noqa: SIM118  # no dict
        params = sum(file.get_tensor(key).size for key in learnt)
    return {
        "network": network,
        "tag": path.stem.removeprefix(f"{network}_"),
        "task": "protein_interaction",
        "description": f"{network} on {' and '.join(names)}, trained on {record['dataset']}",
        "url": "trained",
        "license": "Apache-2.0",
        "dataset": record["dataset"],
        "params": params,
        "encoder": names,
        "seed": lineage["seed"],
        "commit": lineage["code"]["commit"],
        "config_fingerprint": record["config_fingerprint"],
        "metrics": [
            {"name": one["name"], "value": round(one["value"], 4), "dataset": one["dataset"], "split": "test"}
            for one in record["metrics"]
            if one["split"] == "test" and one["name"] in SHOWN
        ],
        "config": {key: value for key, value in record["config"].items() if value is not None},
        "formats": {
            "safetensors": {
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "size_bytes": path.stat().st_size,
                "file_size": round(path.stat().st_size / 2**20, 1),
            }
        },
    }


if __name__ == "__main__":
    main(sys.argv[1:])
