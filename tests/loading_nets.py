"""Small networks for the tests of loading: a vision transformer in which little shows in the shapes."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from holotype import Registry


class ToyViT(nn.Module):
    """Everything that changes what it computes, and no tensor's shape, is a parameter."""

    task = "image_classification"

    def __init__(
        self,
        num_classes: int = 5,
        in_channels: int = 3,
        *,
        size: int | tuple[int, int] = 16,
        patch: int = 4,
        width: int = 8,
        activation: str = "gelu",
        eps: float = 1e-6,
        rope_temperature: float = 100.0,
        class_first: bool = True,
        norm_layer: type = nn.LayerNorm,
    ):
        super().__init__()
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.patch, self.activation, self.class_first = patch, activation, class_first
        self.num_classes, self.in_channels = num_classes, in_channels
        self.conv_proj = nn.Conv2d(in_channels, width, patch, patch)
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        places = (self.size[0] // patch) * (self.size[1] // patch)
        self.pos_embedding = nn.Parameter(torch.randn(1, places, width))
        self.norm = norm_layer(width, eps=eps)
        self.mlp = nn.Linear(width, width)
        self.register_buffer("rope", rope_temperature ** -torch.linspace(0, 1, width), persistent=False)
        self.classifier = nn.Linear(width, num_classes) if num_classes else nn.Identity()

    def forward(self, x):
        tokens = self.conv_proj(x).flatten(2).transpose(1, 2) + self.pos_embedding
        special = self.class_token.expand(len(x), -1, -1)
        tokens = torch.cat((special, tokens) if self.class_first else (tokens, special), 1)
        tokens = self.norm(tokens * self.rope)
        tokens = tokens + getattr(F, self.activation)(self.mlp(tokens))
        return self.classifier(tokens[:, 0])

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.classifier = nn.Linear(self.mlp.out_features, num_classes) if num_classes else nn.Identity()

    def adjust_size(self, size: tuple[int, int]) -> None:
        old = [side // self.patch for side in self.size]
        new = [side // self.patch for side in size]
        grid = self.pos_embedding.detach().reshape(1, *old, -1).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=new, mode="bicubic", antialias=True)
        places = math.prod(new)
        self.pos_embedding = nn.Parameter(grid.permute(0, 2, 3, 1).reshape(1, places, -1))
        self.size = tuple(size)


class ToyConv(nn.Module):
    """Any size will do; the constructor replaces the head."""

    task = "image_classification"

    def __init__(self, num_classes: int = 3, in_channels: int = 3, *, size: int | tuple[int, int] = 16):
        super().__init__()
        self.size = size
        self.stem = nn.Conv2d(in_channels, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.head(self.norm(self.stem(x)).mean((2, 3)))


class Tied(nn.Module):
    def __init__(self, width: int = 4):
        super().__init__()
        self.encoder = nn.Linear(width, width, bias=False)
        self.decoder = nn.Linear(width, width, bias=False)
        self.decoder.weight = self.encoder.weight
        self.halves = nn.Parameter(torch.randn(3, width).bfloat16())
        self.register_buffer("counter", torch.tensor(3))
        self.register_buffer("flags", torch.tensor([True, False, True]))

    def forward(self, x):
        return self.decoder(self.encoder(x))


def make_registry():
    """A registry with these networks."""
    made = Registry()
    made.register_model("toy_vit")(ToyViT)
    made.register_model("toy_conv")(ToyConv)
    made.register_model("tied")(Tied)
    made.register_model_config("toy_vit_relu", ToyViT, config={"activation": "relu"})
    made.register_model_config("toy_vit_rope", ToyViT, config={"rope_temperature": 10000.0})
    made.register_alias("old_vit", "toy_vit", deprecated="use toy_vit")
    return made


def images(channels=3, size=(16, 16)):
    """A batch of pictures."""
    return torch.randn(2, channels, *size)
