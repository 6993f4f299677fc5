"""Does pretraining help? A linear probe of an encoder before and after, on digits that it has not seen.

    python benchmarks/pretraining.py [digits_mae digits_dino] [--seeds 1 2 3]

Each recipe of ``recipes/vision`` is trained with each seed, through the loop that `holotype train` runs. The
probe (`holotype.vision.evaluation.evaluate.probe_encoder`) chooses its strength on the validation images.
"Before" is the very encoder that the training begins with.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import holotype
from holotype.training import load_recipe, train
from holotype.training.randomness import own_randomness, seed_all
from holotype.vision.evaluation.evaluate import probe_encoder

RECIPES = Path(__file__).parents[1] / "recipes" / "vision"


def main() -> None:
    """Train, probe, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="*", default=["digits_mae", "digits_dino"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    given = parser.parse_args()
    print("recipe         seed  linear: before  after  k-NN: before  after  CPU s")
    for name in given.recipes:
        rows = []
        for seed in given.seeds:
            began = time.process_time()
            rows.append(probes(RECIPES / f"{name}.yaml", seed))
            a, b, c, d = rows[-1]
            cpu_s = time.process_time() - began
            print(f"{name:14} {seed:4}  {a:14.3f}  {b:5.3f}  {c:12.3f}  {d:5.3f}  {cpu_s:5.0f}", flush=True)
        columns = list(zip(*rows, strict=True))
        means = ", ".join(f"{statistics.mean(c):.3f} ± {statistics.pstdev(c):.3f}" for c in columns)
        print(f"{name:14} mean ± sd over {len(rows)} seeds: {means}")


def probes(recipe: Path, seed: int) -> tuple[float, float, float, float]:
    """Accuracies on the test images: linear probe before and after, 20-nearest neighbours likewise."""
    with tempfile.TemporaryDirectory() as folder:
        checked = load_recipe(recipe, [f"seed={seed}"])
        train(checked, output=f"{folder}/run")
        after = f"{folder}/run/encoder.safetensors"
        with own_randomness():
            seed_all(seed, "weights")  # as a run is begun
            net = holotype.create_model(checked.model.name, **checked.model.params)
        trained, info = holotype.load_checkpoint(after)
        encoder: Any = net.trained_encoder
        trained.load_state_dict(encoder.state_dict())
        before = f"{folder}/before.safetensors"
        holotype.save_pretrained(trained, before, info=info)
        found = [
            probe_encoder(which, "digits", method=method, batch_size=64).result.accuracy
            for method in ("linear", "knn")
            for which in (before, after)
        ]
    return found[0], found[1], found[2], found[3]


if __name__ == "__main__":
    main()
