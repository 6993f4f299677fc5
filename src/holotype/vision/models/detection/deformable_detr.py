"""Deformable DETR: DETR whose attention looks at a few places of maps at several scales.

Source: Zhu et al. 2021, "Deformable DETR: Deformable Transformers for End-to-End Object Detection", arXiv
2010.04159: section 4.1 (attention, encoder, decoder), appendix A.2 (the maps), section 4.2 and appendix A.4
(boxes refined layer by layer). A plain transformer's single map becomes several as in Li et al. 2022,
"Exploring Plain Vision Transformer Backbones for Object Detection", section 3. Attention is in
`deformable_attention.py`, matching in `matching.py`, what is shared with `detr` in `transformer.py`.

Differs: losses are normalised within an image, by the number of its own boxes, then averaged over images;
the paper divides by the boxes of the whole batch. There is no mask of padding: the images of a batch have one
size. Offsets in the decoder are in half sides of the box, divided by the number of points, so that at first
all points are within the box. There is no two-stage variant (end of section 4.2).

Legend of shapes: B images, C channels, H and W pixels, N classes, Q queries, D width, L decoder layers, T
places of all maps together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from holotype.vision import register_model
from holotype.vision.models.backbone import is_pyramid
from holotype.vision.models.detection.boxes import clip
from holotype.vision.models.detection.deformable_attention import DeformableAttention
from holotype.vision.models.detection.focal_loss import sigmoid_focal_loss, start_rare
from holotype.vision.models.detection.interface import Boxes, Detections, Detector, check_num_classes
from holotype.vision.models.detection.matching import (
    Matches,
    box_cost,
    box_losses,
    focal_cost,
    match,
    pad,
    per_image,
)
from holotype.vision.models.detection.transformer import (
    Attention,
    FeedForward,
    Perceptron,
    Residual,
    all_layers,
    best_first,
    check_transformer,
    group_norm,
    in_pixels,
    sine_positions,
)

CLASS_WEIGHT = 2.0  # section 5, in the cost and in the loss
FINEST = 8  # stride of the finest map: appendix A.2
FIRST_SIDE = 0.1  # appendix A.4: a box is first a tenth of the image wide and high


class Levels(nn.Module):
    """Maps of one width at several scales, finest first (appendix A.2).

    From a pyramid: its last stages, each through a 1 x 1 convolution; then 3 x 3 convolutions of stride 2,
    the first of them over the last stage. From a plain transformer: its last map enlarged by transposed
    convolutions to a stride of about 8, and to those between; as it is; then likewise.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], dim: int, levels: int) -> None:
        super().__init__()
        self.plain = len(channels) == 1 or not is_pyramid(strides)
        self.lateral = nn.ModuleList()
        if self.plain:
            self.stages: tuple[int, ...] = (-1,)
            finer = min(max(round(math.log2(strides[-1] / FINEST)), 0), levels - 1)
            for steps in range(finer, -1, -1):
                self.lateral.append(_enlarged(channels[-1], dim, steps))
        else:
            self.stages = tuple(range(-min(len(channels), max(levels - 1, 1)), 0))
            for stage in self.stages:
                self.lateral.append(_enlarged(channels[stage], dim, 0))
        self.coarser = nn.ModuleList()
        for at in range(levels - len(self.lateral)):
            self.coarser.append(
                nn.Sequential(nn.Conv2d(channels[-1] if at == 0 else dim, dim, 3, 2, 1), group_norm(dim))
            )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The maps of `stages` → one (B, D, h_l, w_l) for each level."""
        sources = [maps[-1]] * len(self.lateral) if self.plain else maps
        found = [layer(x) for layer, x in zip(self.lateral, sources, strict=True)]
        x = maps[-1]
        for layer in self.coarser:
            x = layer(x)
            found.append(x)
        return found


def _enlarged(channels: int, dim: int, steps: int) -> nn.Sequential:
    """(B, C, h, w) → (B, D, 2^steps h, 2^steps w)."""
    layers: list[nn.Module] = []
    for _ in range(steps - 1):
        layers += [nn.ConvTranspose2d(channels, channels, 2, 2), nn.GELU()]
    last = nn.ConvTranspose2d(channels, dim, 2, 2) if steps else nn.Conv2d(channels, dim, 1)
    return nn.Sequential(*layers, last, group_norm(dim))


class EncoderLayer(nn.Module):
    """Every place of every map looks at a few places of all maps, then a feed-forward (section 4.1)."""

    def __init__(self, dim: int, heads: int, inner: int, dropout: float, levels: int, points: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(dim, heads, levels, points)
        self.add_attention = Residual(dim, dropout)
        self.mlp = FeedForward(dim, inner, dropout)
        self.add_mlp = Residual(dim, dropout)

    def forward(
        self, x_BTD: Tensor, places_TD: Tensor, points_BT2: Tensor, shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """(B, T, D) → the same; `points_BT2` are the places' own."""
        seen_BTD = self.attention(x_BTD + places_TD, points_BT2, x_BTD, shapes)
        x_BTD = self.add_attention(x_BTD, seen_BTD)
        out: Tensor = self.add_mlp(x_BTD, self.mlp(x_BTD))
        return out


class DecoderLayer(nn.Module):
    """Self-attention among queries, deformable attention to the maps, a feed-forward (section 4.1)."""

    def __init__(self, dim: int, heads: int, inner: int, dropout: float, levels: int, points: int) -> None:
        super().__init__()
        self.self_attention = Attention(dim, heads, dropout)
        self.add_self_attention = Residual(dim, dropout)
        self.attention = DeformableAttention(dim, heads, levels, points)
        self.add_attention = Residual(dim, dropout)
        self.mlp = FeedForward(dim, inner, dropout)
        self.add_mlp = Residual(dim, dropout)

    def forward(
        self,
        x_BQD: Tensor,
        queries_QD: Tensor,
        boxes_BQ4: Tensor,
        memory_BTD: Tensor,
        shapes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """(B, Q, D) → the same; each query looks around its box (cx, cy, w, h)."""
        asking_BQD = x_BQD + queries_QD
        x_BQD = self.add_self_attention(x_BQD, self.self_attention(asking_BQD, asking_BQD, x_BQD))
        x_BQD = self.add_attention(x_BQD, self.attention(x_BQD + queries_QD, boxes_BQ4, memory_BTD, shapes))
        out: Tensor = self.add_mlp(x_BQD, self.mlp(x_BQD))
        return out


@register_model(
    "deformable_detr",
    description="DETR that looks at a few places of maps at several scales: small objects, faster training",
    features=["set_prediction", "deformable_attention", "multi_scale", "bipartite_matching", "any_backbone"],
    complexity="high",
    paper_reference="Zhu et al. 2021, Deformable DETR, arXiv 2010.04159",
)
class Deformable_DETR(Detector):  # noqa: N801  # as its paper writes it
    """Maps at several scales → deformable encoder → decoder that refines a box for each query.

    Args:
        num_classes: N.
        in_channels: C.
        size: pixels, or (height, width), that it is made for.
        backbone: an architecture or a pretrained entry whose last stages are looked at.
        backbone_params: further parameters of that architecture.
        hidden_dim: D.
        num_heads: heads of each attention.
        num_encoder_layers: layers of the encoder.
        num_decoder_layers: L.
        mlp_dim: inner width of the feed-forwards.
        num_queries: Q, the largest number of objects that it can find in an image.
        num_levels: maps; with 4 and a pyramid, those at strides 8, 16, 32 and 64.
        num_points: places that a head looks at in each map.
        dropout: in attentions among queries and on residual branches.

    Raises:
        ParameterError: a parameter is out of range, or the backbone is unknown.

    Source: Zhu et al. 2021, section 4, with boxes refined layer by layer; differs as the top of this module
    says.
    """

    capabilities: ClassVar[frozenset[str]] = Detector.capabilities | {"compile", "export"}
    small_parameters: ClassVar[Mapping[str, object]] = {
        **Detector.small_parameters,
        "hidden_dim": 32,
        "num_heads": 2,
        "num_encoder_layers": 2,
        "num_decoder_layers": 2,
        "mlp_dim": 48,
        "num_queries": 7,
        "num_points": 2,
    }

    def __init__(
        self,
        num_classes: int = 80,
        in_channels: int = 3,
        size: int | tuple[int, int] = 512,
        *,
        backbone: str = "resnet_v1_50",
        backbone_params: dict[str, Any] | None = None,
        hidden_dim: int = 256,
        num_heads: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        mlp_dim: int = 1024,
        num_queries: int = 300,
        num_levels: int = 4,
        num_points: int = 4,
        dropout: float = 0.1,
    ) -> None:
        check_transformer(
            type(self).__name__,
            hidden_dim=hidden_dim,
            num_heads=num_heads,
            dropout=dropout,
            at_least={
                "num_encoder_layers": (num_encoder_layers, 1),
                "num_decoder_layers": (num_decoder_layers, 1),
                "mlp_dim": (mlp_dim, 1),
                "num_queries": (num_queries, 1),
                "num_levels": (num_levels, 1),
                "num_points": (num_points, 1),
            },
        )
        super().__init__(num_classes, in_channels, size, backbone=backbone, backbone_params=backbone_params)
        self.num_queries = num_queries
        layer = (hidden_dim, num_heads, mlp_dim, dropout, num_levels, num_points)
        self.levels = Levels(
            self.backbone.stage_channels, self.backbone.stage_strides, hidden_dim, num_levels
        )
        self.level_embedding = nn.Parameter(torch.empty(num_levels, hidden_dim).normal_())
        self.encoder = nn.ModuleList(EncoderLayer(*layer) for _ in range(num_encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(*layer) for _ in range(num_decoder_layers))
        self.queries = nn.Parameter(torch.empty(num_queries, hidden_dim).normal_())
        self.content = nn.Parameter(torch.empty(num_queries, hidden_dim).normal_())
        self.reference = nn.Linear(hidden_dim, 2)
        self.box_heads = nn.ModuleList(Perceptron(hidden_dim, 4) for _ in range(num_decoder_layers))
        nn.init.xavier_uniform_(self.reference.weight)
        nn.init.zeros_(self.reference.bias)
        for head in self.box_heads:
            last = head[-1]  # type: ignore[index]  # a Sequential
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the layers that say the class, one for each decoder layer, by new ones on the same device.

        Raises:
            ParameterError: fewer than one class.
        """
        self.num_classes = check_num_classes(num_classes)
        like = self.queries
        self.class_heads = nn.ModuleList(
            nn.Linear(like.shape[1], num_classes, device=like.device, dtype=like.dtype) for _ in self.decoder
        ).train(self.training)
        for head in self.class_heads:
            start_rare(head)  # type: ignore[arg-type]  # a Linear

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predict Q objects in each image.

        Args:
            images: (B, C, H, W), normalised as the backbone's weights expect.

        Returns:
            (B, Q, N) logits, each class by itself; (B, Q, 4) boxes, x1, y1, x2, y2 in pixels; and the same
            after each earlier decoder layer: (B, L - 1, Q, N) and (B, L - 1, Q, 4).

        Raises:
            ShapeError: images that the backbone does not take.
        """
        self.check_images(images)
        maps = self.levels(self.backbone.forward_intermediates(images, self.levels.stages))
        memory_BTD, shapes = self._encode(maps)
        x_BQD = self.content.expand(images.shape[0], -1, -1)
        # What is refined are the logits of (cx, cy, w, h): section 4.2, appendix A.4.
        raw_Q2 = self.reference(self.queries)
        first = math.log(FIRST_SIDE / (1 - FIRST_SIDE))
        raw_BQ4 = torch.cat((raw_Q2, torch.full_like(raw_Q2, first)), 1).expand(images.shape[0], -1, -1)
        logits, boxes = [], []
        for decode, class_head, box_head in zip(self.decoder, self.class_heads, self.box_heads, strict=True):
            x_BQD = decode(x_BQD, self.queries, raw_BQ4.sigmoid(), memory_BTD, shapes)
            raw_BQ4 = raw_BQ4 + box_head(x_BQD)
            logits.append(class_head(x_BQD))
            boxes.append(in_pixels(raw_BQ4, images))
            raw_BQ4 = raw_BQ4.detach()  # appendix A.4: no gradient from one layer's box into the next
        earlier = torch.stack(logits, 1)[:, :-1], torch.stack(boxes, 1)[:, :-1]
        return logits[-1], boxes[-1], *earlier

    def _encode(self, maps: Sequence[Tensor]) -> tuple[Tensor, list[tuple[int, int]]]:
        """Maps of all levels → (B, T, D) encoded, and (h_l, w_l) of each."""
        shapes = [(x.shape[2], x.shape[3]) for x in maps]
        memory_BTD = torch.cat([x.flatten(2) for x in maps], 2).transpose(1, 2)
        places, points = [], []
        for (rows, columns), embedding in zip(shapes, self.level_embedding, strict=True):
            places.append(sine_positions(rows, columns, embedding.shape[0], embedding) + embedding)
            points.append(cell_centers(rows, columns, embedding))
        points_BT2 = torch.cat(points).expand(memory_BTD.shape[0], -1, -1)
        for encode in self.encoder:
            memory_BTD = encode(memory_BTD, torch.cat(places), points_BT2, shapes)
        return memory_BTD, shapes

    def loss(self, images: Tensor, targets: Sequence[Boxes]) -> dict[str, Tensor]:
        """DETR's Hungarian loss with a focal loss for the classes, summed over decoder layers.

        Each is divided by the number of the image's own boxes, at least 1, then averaged over images; the
        paper divides by the boxes of the whole batch.

        Args:
            images: (B, C, H, W), as for `forward`.
            targets: what there is to find in each image; there may be nothing.

        Returns:
            ``classes``, ``l1`` and ``giou``, each () and weighted as in the paper.

        Raises:
            ShapeError: as for `forward`, or targets of a wrong shape or number.
            DataError: a wrong label or box, or more boxes in an image than queries.
            TrainingError: predictions that are not finite.
            MissingExtraError: SciPy is not installed.
        """
        padded = pad(self.check_targets(images, targets), images.device)
        logits, boxes = all_layers(self(images))
        size = (images.shape[2], images.shape[3])
        with torch.no_grad():
            cost = CLASS_WEIGHT * focal_cost(logits, padded.labels) + box_cost(boxes, padded.boxes, size)
        found = match(cost, padded.counts)
        l1, giou = box_losses(
            boxes[found.image, found.layer, found.query], padded.boxes[found.image, found.box], size
        )
        return {
            "classes": CLASS_WEIGHT * class_loss(logits, padded.labels, found, padded.counts),
            "l1": per_image(l1, found, padded.counts),
            "giou": per_image(giou, found, padded.counts),
        }

    def select(
        self,
        outputs: tuple[Tensor, ...],
        size: tuple[int, int],
        *,
        score_threshold: float,
        iou_threshold: float,
        max_detections: int,
    ) -> list[Detections]:
        """The best pairs of query and class; `iou_threshold` plays no part."""
        scores = outputs[0].float().sigmoid().flatten(1)
        scores, places = scores.topk(min(max_detections, scores.shape[1]), dim=1)
        queries, labels = places // self.num_classes, places % self.num_classes
        boxes = clip(outputs[1], size).gather(1, queries[..., None].expand(-1, -1, 4))
        return best_first(
            boxes, scores, labels, score_threshold=score_threshold, max_detections=max_detections
        )


def class_loss(logits: Tensor, labels: Tensor, found: Matches, counts: Sequence[int]) -> Tensor:
    """The focal loss of every query and class, whether or not the query answers for a box.

    Args:
        logits: (B, L, Q, N).
        labels: (B, M) classes of the boxes.
        found: which query answers for which box.
        counts: boxes of each image.

    Returns:
        (), summed over layers, divided by each image's number of boxes, averaged over images.
    """
    wanted = torch.zeros_like(logits)
    wanted[found.image, found.layer, found.query, labels[found.image, found.box]] = 1.0
    sums = sigmoid_focal_loss(logits, wanted).sum((1, 2, 3))
    return (sums / sums.new_tensor([max(count, 1) for count in counts])).mean()


def cell_centers(rows: int, columns: int, like: Tensor) -> Tensor:
    """(h w, 2), the middles of a map's cells as shares of the image, x before y, row by row."""
    y = (torch.arange(rows, device=like.device, dtype=torch.float32) + 0.5) / rows
    x = (torch.arange(columns, device=like.device, dtype=torch.float32) + 0.5) / columns
    return torch.stack((x.expand(rows, -1), y[:, None].expand(-1, columns)), 2).flatten(0, 1)
