"""``holotype predict``: `holotype.prediction.predict`, printed."""

from __future__ import annotations

import argparse

from holotype.cli.show import BOLD, coloured, plain, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("name", help="a pretrained entry ('holotype list --pretrained' lists them)")
    parser.add_argument("images", nargs="+", metavar="PHOTO", help="image files")
    parser.add_argument("-k", "--top", type=int, default=5, metavar="N", help="how many classes (default: 5)")
    parser.add_argument("--device", default="cpu", help="such as cuda (default: cpu)")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the most probable classes of each photograph."""
    from holotype.prediction import predict

    predictions = predict(arguments.name, arguments.images, top_k=arguments.top, device=arguments.device)
    if arguments.json:
        print_json([prediction.to_dict() for prediction in predictions])
        return 0
    for prediction in predictions:
        print(coloured(plain(prediction.path), BOLD))
        for name, probability in prediction.classes:
            print(f"  {probability:7.2%}  {plain(name)}")
    return 0
