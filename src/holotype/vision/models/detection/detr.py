"""DETR: detection as the prediction of a set, by a transformer and a bipartite matching.

Source: Carion et al. 2020, "End-to-End Object Detection with Transformers", arXiv 2005.12872: section 3.1 and
equations 1 and 2 (matching and loss), section 3.2 and figure 2 (network), appendix A.3 and figure 10 (where
positions go). The matching is in `matching.py`, the parts are in `transformer.py`.

Differs: losses are normalised within an image, by the number of its own boxes, then averaged over images;
the paper divides by the boxes of the whole batch. There is no mask of padding: the images of a batch have one
size. The map is normalised (in groups) after its 1 x 1 convolution, since not every backbone ends in a norm.

Legend of shapes: B images, C channels, H and W pixels, N classes, Q queries, D width, L decoder layers, T
places of the map, h and w its rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holotype.vision import register_model
from holotype.vision.models.detection.boxes import clip
from holotype.vision.models.detection.interface import Boxes, Detections, Detector, check_num_classes
from holotype.vision.models.detection.matching import (
    Matches,
    box_cost,
    box_losses,
    match,
    pad,
    per_image,
    softmax_cost,
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

NO_OBJECT_WEIGHT = 0.1  # section 3.1


class EncoderLayer(nn.Module):
    """Self-attention over the places of the map, then a feed-forward (figure 10, left)."""

    def __init__(self, dim: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, dropout)
        self.add_attention = Residual(dim, dropout)
        self.mlp = FeedForward(dim, inner, dropout)
        self.add_mlp = Residual(dim, dropout)

    def forward(self, x_BTD: Tensor, places_TD: Tensor) -> Tensor:
        """(B, T, D) → the same; positions are added to queries and keys, never to values."""
        placed_BTD = x_BTD + places_TD
        x_BTD = self.add_attention(x_BTD, self.attention(placed_BTD, placed_BTD, x_BTD))
        out: Tensor = self.add_mlp(x_BTD, self.mlp(x_BTD))
        return out


class DecoderLayer(nn.Module):
    """Self-attention among queries, attention to the map, a feed-forward (figure 10, right)."""

    def __init__(self, dim: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(dim, heads, dropout)
        self.add_self_attention = Residual(dim, dropout)
        self.attention = Attention(dim, heads, dropout)
        self.add_attention = Residual(dim, dropout)
        self.mlp = FeedForward(dim, inner, dropout)
        self.add_mlp = Residual(dim, dropout)

    def forward(self, x_BQD: Tensor, queries_QD: Tensor, keys_BTD: Tensor, memory_BTD: Tensor) -> Tensor:
        """(B, Q, D) → the same.

        Args:
            x_BQD: what is known of each object so far.
            queries_QD: the object queries, positions of their own kind.
            keys_BTD: the map with its positions.
            memory_BTD: the map.
        """
        asking_BQD = x_BQD + queries_QD
        x_BQD = self.add_self_attention(x_BQD, self.self_attention(asking_BQD, asking_BQD, x_BQD))
        x_BQD = self.add_attention(x_BQD, self.attention(x_BQD + queries_QD, keys_BTD, memory_BTD))
        out: Tensor = self.add_mlp(x_BQD, self.mlp(x_BQD))
        return out


@register_model(
    "detr",
    description="A transformer predicts the set of objects at once: no anchors, no suppression of duplicates",
    features=["set_prediction", "transformer", "bipartite_matching", "any_backbone"],
    complexity="high",
    paper_reference="Carion et al. 2020, End-to-End Object Detection with Transformers, arXiv 2005.12872",
)
class DETR(Detector):
    """The last map of a backbone → transformer encoder → transformer decoder → a class and a box a query.

    Args:
        num_classes: N.
        in_channels: C.
        size: pixels, or (height, width), that it is made for.
        backbone: an architecture or a pretrained entry whose last stage is looked at.
        backbone_params: further parameters of that architecture.
        hidden_dim: D.
        num_heads: heads of each attention.
        num_encoder_layers: layers of the encoder; 0 for none.
        num_decoder_layers: L.
        mlp_dim: inner width of the feed-forwards.
        num_queries: Q, the largest number of objects that it can find in an image.
        dropout: in attentions and on residual branches.

    Raises:
        ParameterError: a parameter is out of range, or the backbone is unknown.

    Source: Carion et al. 2020, section 3; differs as the top of this module says.
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
        mlp_dim: int = 2048,
        num_queries: int = 100,
        dropout: float = 0.1,
    ) -> None:
        check_transformer(
            type(self).__name__,
            hidden_dim=hidden_dim,
            num_heads=num_heads,
            dropout=dropout,
            at_least={
                "num_encoder_layers": (num_encoder_layers, 0),
                "num_decoder_layers": (num_decoder_layers, 1),
                "mlp_dim": (mlp_dim, 1),
                "num_queries": (num_queries, 1),
            },
        )
        super().__init__(num_classes, in_channels, size, backbone=backbone, backbone_params=backbone_params)
        self.num_queries = num_queries
        layer = (hidden_dim, num_heads, mlp_dim, dropout)
        self.project = nn.Sequential(
            nn.Conv2d(self.backbone.stage_channels[-1], hidden_dim, 1), group_norm(hidden_dim)
        )
        self.encoder = nn.ModuleList(EncoderLayer(*layer) for _ in range(num_encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(*layer) for _ in range(num_decoder_layers))
        self.queries = nn.Parameter(torch.empty(num_queries, hidden_dim).normal_())
        self.norm = nn.LayerNorm(hidden_dim)
        self.box_head = Perceptron(hidden_dim, 4)
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the layer that says the class by a new one, on the same device.

        Raises:
            ParameterError: fewer than one class.
        """
        self.num_classes = check_num_classes(num_classes)
        like = self.queries
        head = nn.Linear(like.shape[1], num_classes + 1, device=like.device, dtype=like.dtype)
        self.class_head = head.train(self.training)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predict Q objects in each image.

        Args:
            images: (B, C, H, W), normalised as the backbone's weights expect.

        Returns:
            (B, Q, N + 1) logits, the last of "no object"; (B, Q, 4) boxes, x1, y1, x2, y2 in pixels; and the
            same after each earlier decoder layer: (B, L - 1, Q, N + 1) and (B, L - 1, Q, 4).

        Raises:
            ShapeError: images that the backbone does not take.
        """
        self.check_images(images)
        (feature_map,) = self.backbone.forward_intermediates(images, (-1,))
        projected = self.project(feature_map)
        places_TD = sine_positions(projected.shape[2], projected.shape[3], projected.shape[1], projected)
        memory_BTD = projected.flatten(2).transpose(1, 2)
        for encode in self.encoder:
            memory_BTD = encode(memory_BTD, places_TD)
        keys_BTD = memory_BTD + places_TD
        x_BQD = torch.zeros_like(self.queries).expand(images.shape[0], -1, -1)
        after = []
        for decode in self.decoder:
            x_BQD = decode(x_BQD, self.queries, keys_BTD, memory_BTD)
            after.append(self.norm(x_BQD))
        x_BLQD = torch.stack(after, 1)
        logits, boxes = self.class_head(x_BLQD), in_pixels(self.box_head(x_BLQD), images)
        return logits[:, -1], boxes[:, -1], logits[:, :-1], boxes[:, :-1]

    def loss(self, images: Tensor, targets: Sequence[Boxes]) -> dict[str, Tensor]:
        """The Hungarian loss (equation 2), summed over decoder layers.

        Each is normalised within an image (cross-entropy by the weights of its queries' classes, the losses
        of boxes by the number of its own boxes, at least 1), then averaged over images; the paper normalises
        over the batch.

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
            cost = softmax_cost(logits, padded.labels) + box_cost(boxes, padded.boxes, size)
        found = match(cost, padded.counts)
        l1, giou = box_losses(
            boxes[found.image, found.layer, found.query], padded.boxes[found.image, found.box], size
        )
        return {
            "classes": self._class_loss(logits, padded.labels, found),
            "l1": per_image(l1, found, padded.counts),
            "giou": per_image(giou, found, padded.counts),
        }

    def _class_loss(self, logits: Tensor, labels: Tensor, found: Matches) -> Tensor:
        """(B, L, Q, N + 1) logits → (): cross-entropy, a tenth of it where a query has no box."""
        wanted = torch.full(logits.shape[:3], self.num_classes, device=logits.device)
        wanted[found.image, found.layer, found.query] = labels[found.image, found.box]
        weights = torch.where(wanted == self.num_classes, NO_OBJECT_WEIGHT, 1.0)
        losses = F.cross_entropy(logits.flatten(0, 2), wanted.flatten(), reduction="none").view_as(weights)
        by_layer = (losses * weights).sum(2) / weights.sum(2)
        return by_layer.sum(1).mean()

    def select(
        self,
        outputs: tuple[Tensor, ...],
        size: tuple[int, int],
        *,
        score_threshold: float,
        iou_threshold: float,
        max_detections: int,
    ) -> list[Detections]:
        """The best class of each query, the best queries first; `iou_threshold` plays no part."""
        scores, labels = outputs[0].float().softmax(-1)[..., :-1].max(-1)
        return best_first(
            clip(outputs[1], size),
            scores,
            labels,
            score_threshold=score_threshold,
            max_detections=max_detections,
        )
