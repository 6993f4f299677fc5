"""Images a second of the vision zoo beside Birder and timm: same process, same threads, alternating.

Run it in the environment of the peers:

    .venv-peers/bin/python benchmarks/vision.py [--threads 1] [--batch 2] [--rounds 15] [NETWORK ...]

Each round times one forward pass of each network, and each round begins with another one. A figure is the
best of the rounds; a ratio is the median over rounds of theirs over ours (above 1: ours is faster), so that
whatever else the machine does in a round falls on both. With one thread, time is that of the processor.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

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

    from holotype.vision import registry

    nets = {
        "holotype": registry.create_model(name),
        "birder": birder.net_factory(name, 1000, size=(224, 224)),
    }
    if in_timm is not None:
        nets["timm"] = timm.create_model(in_timm, num_classes=1000)
    return {library: net.eval() for library, net in nets.items()}


def seconds(
    nets: dict[str, torch.nn.Module], images: torch.Tensor, rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """What each network took for one batch, round by round."""
    took: dict[str, list[float]] = {library: [] for library in nets}
    order = list(nets)
    with torch.inference_mode():
        for net in nets.values():
            net(images)
        for _ in range(rounds):
            for library in order:
                started = clock()
                nets[library](images)
                took[library].append(clock() - started)
            order.append(order.pop(0))
    return took


def ratio(took: dict[str, list[float]], peer: str) -> str:
    """How many times as long a peer takes as we do, or a dash where there is none."""
    if peer not in took:
        return "–"
    pairs = zip(took[peer], took["holotype"], strict=True)
    return f"{statistics.median(theirs / ours for theirs, ours in pairs):.2f}"


def main() -> None:
    """Print one line for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(NETWORKS)}")
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # the peers' own
    torch.manual_seed(0)
    torch.set_num_threads(given.threads)
    images = torch.randn(given.batch, 3, 224, 224)
    print(f"{'network':20}{'images/s':>10}{'/ birder':>10}{'/ timm':>10}")
    # Other processes are not counted; but processor time adds up over threads.
    clock = time.process_time if given.threads == 1 else time.perf_counter
    for name in given.networks or NETWORKS:
        took = seconds(contenders(name, NETWORKS[name]), images, given.rounds, clock)
        speed = given.batch / min(took["holotype"])
        print(f"{name:20}{speed:>10.2f}{ratio(took, 'birder'):>10}{ratio(took, 'timm'):>10}", flush=True)


if __name__ == "__main__":
    main()
