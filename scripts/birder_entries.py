"""Write the entries of Birder's published checkpoints into the vision zoo's `pretrained.toml`.

    python scripts/birder_entries.py ../shared/facts/birder_pretrained.json

The facts are names, addresses, sizes and hashes, gathered from the Birder package. An entry is written for
each checkpoint whose architecture this zoo has, and for which the facts have an address. How many classes a
file tells apart they do not say: the file itself does, when it is loaded. So `params` counts the network
without its last layer.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from holotype.vision import registry

TABLE = Path(__file__).parents[1] / "src" / "holotype" / "zoos" / "vision" / "pretrained.toml"
START = "# The entries below are written by scripts/birder_entries.py, from facts of the Birder package.\n"
REST = "# `params` is without the last layer: how many classes there are, a file itself tells.\n"

# What the words of a tag mean, in the order in which they are looked for.
TAGS = {
    "intermediate": "trained in an intermediate step",  # the facts do not say on which pictures
    "eu-common": "trained on birds common in Europe",
    "il-common": "trained on birds common in Israel",
    "il-all": "trained on birds of Israel",
    "arabian-peninsula": "trained on birds of the Arabian peninsula",
    "imagenet12k": "trained on ImageNet-12k",
    "imagenet21k": "trained on ImageNet-21k",
    "inat21": "trained on iNaturalist 2021",
    "places365": "trained on Places365",
    "bioscan5m": "on BIOSCAN-5M",
    "lvd142m": "on LVD-142M",
    "webli": "on WebLI",
    "capi-dino-bio": "self-supervised by CAPI and DINO on pictures of organisms",
    "rotnet-capi": "self-supervised by CAPI and by telling rotations apart",
    "dino-v2-dist-bio": "distilled from a DINOv2 network on pictures of organisms",
    "dino-v2-bio": "self-supervised by DINOv2 on pictures of organisms",
    "eva-bio": "self-supervised by EVA on pictures of organisms",
    "mim-bio": "self-supervised by masked image modelling on pictures of organisms",
    "capi": "self-supervised by CAPI",
    "dino-v2": "self-supervised by DINOv2",
    "franca": "self-supervised by Franca",
    "i-jepa": "self-supervised by I-JEPA",
    "mim": "self-supervised by masked image modelling",
    "bioclip-v25": "image encoder of BioCLIP 2.5",
    "bioclip-v2": "image encoder of BioCLIP 2",
    "bioclip-v1": "image encoder of BioCLIP",
    "biotrove-clip-o": "image encoder of BioTrove-CLIP-O",
    "eva02-clip": "image encoder of EVA-02-CLIP",
    "openai-clip": "image encoder of CLIP",
    "siglip-v2": "image encoder of SigLIP 2",
    "pe-core": "Perception Encoder, core",
    "pe-spatial": "Perception Encoder, spatial",
    "sam2_1": "image encoder of SAM 2.1",
    "sscd": "for finding copies (SSCD)",
}
# The publisher's method comes first in a description, whatever comes first in the tag.
LATER = ("trained", "on ")


def description(network: str, tag: str, epoch: int | None, side: int) -> str:
    """An entry's description, from the words of its tag; an unknown word stands as it is."""
    rest, said = re.sub(r"-?\d+px$", "", tag), []
    for word, meaning in TAGS.items():
        if re.search(rf"(?:^|-){re.escape(word)}(?:-|$)", rest):
            rest = re.sub(rf"(?:^|-){re.escape(word)}(?=-|$)", "", rest, count=1)
            said.append(meaning)
    said.sort(key=lambda text: text.startswith(LATER))
    if epoch is not None:
        said.append(f"{epoch} epochs")
    if rest.strip("-"):
        said.append(rest.strip("-"))
    what = registry.get_model_info(network).description
    text = f"{', '.join(said)}; {side} pixels; {what[0].lower()}{what[1:]}"
    return text[0].upper() + text[1:]


def complete_config(network: str, side: int) -> dict[str, object]:
    """Every parameter but the number of classes, so that a later default cannot change what is loaded."""
    info = registry.get_model_info(network)
    config = {parameter.name: parameter.default for parameter in info.parameters or ()}
    config |= dict(info.config) | {"size": side}
    del config["num_classes"]
    return {key: value for key, value in config.items() if value is not None}  # TOML has no null


def entries(facts: dict[str, dict]) -> dict[str, dict]:
    """The rows of the table, in the order of their names."""
    rows = {}
    for name, fact in sorted(facts.items()):
        net = fact["net"]
        if fact["task"] != "image_classification" or "url" not in fact or not registry.exists(net["network"]):
            continue
        height, width = fact["resolution"]
        if height != width:
            raise ValueError(f"{name} is not square")
        address = re.fullmatch(r"https://huggingface\.co/([^/]+/[^/]+)/resolve/([^/]+)/?", fact["url"])
        config = complete_config(net["network"], height)
        rows[name] = {
            **net,
            "task": fact["task"],
            "description": description(net["network"], net["tag"], net.get("epoch"), height),
            "url": f"hf://{address[1]}@{address[2]}" if address else fact["url"],
            "resolution": [height, width],
            "params": registry.count_parameters(net["network"], num_classes=0, **config),
            "config": config,
            "formats": fact["formats"],
        }
    return rows


def toml(value: object) -> str:
    """A value as TOML, on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def text(rows: dict[str, dict]) -> str:
    """The rows as TOML."""
    blocks = []
    for name, row in rows.items():
        lines = [f"{key} = {toml(value)}" for key, value in row.items() if key != "formats"]
        lines += [f"formats.{format} = {toml(file)}" for format, file in row["formats"].items()]
        blocks.append("\n".join([f"[{name}]", *lines]))
    return "\n\n".join(blocks) + "\n"


def main() -> None:
    """Replace what was written before."""
    facts = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    by_hand = TABLE.read_text(encoding="utf-8").partition(START)[0].rstrip()
    rows = entries(facts)
    TABLE.write_text(f"{by_hand}\n\n{START}{REST}\n{text(rows)}", encoding="utf-8")
    print(f"{len(rows)} entries")


if __name__ == "__main__":
    main()
