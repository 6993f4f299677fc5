"""Images a second of the vision zoo beside Birder and timm: same process, same threads, alternating.

Run it in the environment of the peers:

    .venv-peers/bin/python benchmarks/vision.py [--threads 1] [--batch 2] [--rounds 5]

Each round times one forward pass of each network in turn; a figure is the best of the rounds, and a ratio is
ours over theirs (above 1: ours is faster).
"""

from __future__ import annotations

import argparse
import time
import warnings

import torch

# Our name and Birder's, and timm's where it has the same network.
NETWORKS = {
    "vit_b16": "vit_base_patch16_224",
    "convnext_v2_tiny": "convnextv2_tiny",
    "hieradet_d_small": None,
    "efficientnet_lite0": "efficientnet_lite0",
}


def contenders(name: str, in_timm: str | None) -> dict[str, torch.nn.Module]:
    """The network of each library, with random weights."""
    import timm
    from birder.model_registry import registry as birder

    from holotype.zoos.vision import registry

    nets = {
        "holotype": registry.create_model(name),
        "birder": birder.net_factory(name, 1000, size=(224, 224)),
    }
    if in_timm is not None:
        nets["timm"] = timm.create_model(in_timm, num_classes=1000)
    return {library: net.eval() for library, net in nets.items()}


def seconds(nets: dict[str, torch.nn.Module], images: torch.Tensor, rounds: int) -> dict[str, float]:
    """The best time of each network for one batch."""
    best = dict.fromkeys(nets, float("inf"))
    with torch.inference_mode():
        for net in nets.values():
            net(images)
        for _ in range(rounds):
            for library, net in nets.items():
                started = time.perf_counter()
                net(images)
                best[library] = min(best[library], time.perf_counter() - started)
    return best


def main() -> None:
    """Print one line for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # the peers' own
    torch.manual_seed(0)
    torch.set_num_threads(given.threads)
    images = torch.randn(given.batch, 3, 224, 224)
    print(f"{'network':20}{'images/s':>10}{'/ birder':>10}{'/ timm':>10}")
    for name, in_timm in NETWORKS.items():
        best = seconds(contenders(name, in_timm), images, given.rounds)
        ratios = [
            f"{best[peer] / best['holotype']:.2f}" if peer in best else "–" for peer in ("birder", "timm")
        ]
        print(f"{name:20}{given.batch / best['holotype']:>10.2f}{ratios[0]:>10}{ratios[1]:>10}", flush=True)


if __name__ == "__main__":
    main()
