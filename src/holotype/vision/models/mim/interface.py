"""What every masked image model offers: an encoder, a mask, a reconstruction, a loss.

Source: He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", section 3 (the loss looks at
hidden patches only; a patch's pixels may be normalised by their own mean and standard deviation).

Legend of shapes: B images, C channels, H and W pixels; U pixels a side of a mask unit, h = H / U and w = W /
U; P pixels a side of a predicted patch; K mask units that are seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holotype.errors import ParameterError, ShapeError
from holotype.tasks import Task
from holotype.vision.models.backbone import build_encoder
from holotype.vision.models.interface import ImageClassifier, height_and_width, other_size
from holotype.vision.models.mim.masks import enlarged, masked_count, random_mask, seen_units


class Reconstruction(NamedTuple):
    """What a masked image model makes of some images.

    Attributes:
        masked: (B, C, H, W) the images with 0 where they are hidden.
        images: (B, C, H, W) the images, with what is predicted where they are hidden.
        mask: (B, h, w), 1 where they are hidden.
    """

    masked: Tensor
    images: Tensor
    mask: Tensor


class MaskedImageModel(nn.Module):
    """An encoder that sees a part of an image, and a decoder that predicts the rest.

    A method writes `predict`. Parts of the encoder that it does not use (pools, norms after a pool) stay as
    they were made and do not learn, so the encoder's state has every key that a classifier of the same name
    has but for the classifier's own.

    Attributes:
        suitable: the families of encoders that it can take.
        examples: names of such encoders, for messages.
        drops_masked: does the encoder work on what is seen alone? Then each image shows as many units.
        absolute: is the loss the absolute error, and not the squared one?
        encoder: the network that is trained, without classes.
        mask_size: U.
        mask_ratio: share of the units that is hidden.
        patch: P.
        norm_pix_loss: are the pixels of each patch normalised before they are compared?
    """

    task = Task.MASKED_IMAGE_MODELING
    capabilities: ClassVar[frozenset[str]] = frozenset({"in_channels", "size"})
    suitable: ClassVar[tuple[type[ImageClassifier], ...]] = ()
    examples: ClassVar[tuple[str, ...]] = ()
    drops_masked: ClassVar[bool] = False
    absolute: ClassVar[bool] = False

    def __init__(
        self,
        encoder: ImageClassifier,
        *,
        mask_size: int,
        mask_ratio: float,
        patch: int,
        norm_pix_loss: bool,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.mask_size = mask_size
        self.mask_ratio = mask_ratio
        self.patch = patch
        self.norm_pix_loss = norm_pix_loss
        self._check_size(encoder.size)

    @classmethod
    def make_encoder(
        cls,
        name: str,
        params: Mapping[str, Any] | None,
        in_channels: int,
        size: int | tuple[int, int],
    ) -> ImageClassifier:
        """`build_encoder`, of a family that this method can take.

        Raises:
            ParameterError: the network is unknown, or of another family.
        """
        encoder = build_encoder(name, params, in_channels=in_channels, size=size)
        if not isinstance(encoder, cls.suitable):
            families = ", ".join(family.__name__ for family in cls.suitable)
            raise ParameterError(
                f"{cls.__name__} cannot mask {name!r}, which is a {type(encoder).__name__}; "
                f"it takes encoders of {families}.",
                given=name,
                hint=f"For instance encoder={' or '.join(repr(example) for example in cls.examples)}.",
            )
        return encoder

    @property
    def trained_encoder(self) -> ImageClassifier:
        """The encoder to keep."""
        return self.encoder

    @property
    def in_channels(self) -> int:
        """C."""
        return self.encoder.in_channels

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the images that it takes."""
        return self.encoder.size

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w): rows and columns of mask units."""
        return self.size[0] // self.mask_size, self.size[1] // self.mask_size

    def predict(self, images: Tensor, mask: Tensor, keep: Tensor | None) -> Tensor:
        """Paint the images.

        Args:
            images: (B, C, H, W).
            mask: (B, h, w), 1 where they are hidden.
            keep: (B, K) places of the units that are seen; None unless `drops_masked`.

        Returns:
            (B, C, H, W), normalised in each patch where `norm_pix_loss` is set.
        """
        raise NotImplementedError

    def forward(self, images: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Hide parts of images and paint them.

        Args:
            images: (B, C, H, W), normalised as the encoder expects.
            mask: (B, h, w), 1 or True where the images are hidden; None: drawn at random, anew each time.

        Returns:
            (B, C, H, W) what is predicted, hidden or not (see `predict`); and the (B, h, w) mask.

        Raises:
            ShapeError: images or a mask of another shape; or, where the encoder works on what is seen alone,
                a mask that shows another number of units in one image than in the next, or none.
        """
        self.check_images(images)
        units = self.grid[0] * self.grid[1]
        if mask is None:
            mask = random_mask(len(images), self.grid, self.mask_ratio, like=images)
            count = units - masked_count(units, self.mask_ratio)
        else:
            mask = self._check_mask(mask, images)
            count = _seen_in_each(mask) if self.drops_masked else units
        keep = seen_units(mask, count) if self.drops_masked else None
        return self.predict(images, mask, keep), mask

    def loss(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """The error at hidden pixels: the mean over those of an image, and over images; a scalar.

        Arguments as for `forward`.
        """
        prediction, mask = self(images, mask)
        return self.error(prediction, images, mask)

    def error(self, prediction: Tensor, images: Tensor, mask: Tensor) -> Tensor:
        """The loss of a prediction of `forward`; a scalar."""
        gap = prediction - self.target(images)
        gap = gap.abs() if self.absolute else gap.square()
        hidden = self._hidden(mask).to(gap.dtype)  # half precision cannot count the pixels of an image
        pixels = (hidden.sum((1, 2, 3)) * images.shape[1]).clamp_min(1.0)
        return ((gap * hidden).sum((1, 2, 3)) / pixels).mean()

    def target(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → what `predict` should give, in single precision at least."""
        images = images.to(torch.promote_types(images.dtype, torch.float32))
        if not self.norm_pix_loss:
            return images
        patches = patchify(images, self.patch)
        mean, deviation = _statistics(patches)
        return unpatchify((patches - mean) / deviation, self.patch, images.shape)

    def in_pixels(self, prediction: Tensor, images: Tensor) -> Tensor:
        """What `predict` gives, as pixels: the inverse of `target` for these images."""
        if not self.norm_pix_loss:
            return prediction
        wide = images.to(torch.promote_types(images.dtype, torch.float32))
        mean, deviation = _statistics(patchify(wide, self.patch))
        patches = patchify(prediction, self.patch) * deviation + mean
        return unpatchify(patches, self.patch, images.shape)

    @torch.no_grad()
    def reconstruct(self, images: Tensor, mask: Tensor | None = None) -> Reconstruction:
        """Pictures of what it does; arguments as for `forward`. Call `eval()` first.

        Hidden pixels are painted; seen ones are the images' own.
        """
        prediction, mask = self(images, mask)
        hidden = self._hidden(mask)
        painted = self.in_pixels(prediction, images).to(images.dtype)
        return Reconstruction(images * (1 - hidden), torch.where(hidden > 0, painted, images), mask)

    def example_inputs(self, batch: int) -> tuple[Tensor, Tensor]:
        """Random images, and a mask."""
        images = torch.randn(batch, self.in_channels, *self.size)
        return images, random_mask(batch, self.grid, self.mask_ratio, like=images)

    def adjust_size(self, size: int | tuple[int, int]) -> None:
        """Make it for images of another size, as the encoder does.

        Raises:
            ParameterError: a size that it cannot take.
        """
        self._check_size(height_and_width(size))
        self.encoder.adjust_size(size)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute each block of the encoder again in the backward pass; see `ImageClassifier`."""
        self.encoder.set_grad_checkpointing(enable)

    def check_images(self, images: Tensor) -> None:
        """Refuse what is not (B, C, H, W) of the encoder's C and size."""
        self.encoder.check_images(images)
        if tuple(images.shape[2:]) != self.size:
            raise other_size(type(self).__name__, self.size, tuple(images.shape[2:]))

    def _hidden(self, mask: Tensor) -> Tensor:
        """(B, h, w) → (B, 1, H, W)."""
        return enlarged(mask[:, None], self.mask_size)

    def _check_size(self, size: tuple[int, int]) -> None:
        unit = self.mask_size
        if size[0] % unit or size[1] % unit:
            below = tuple(max(n // unit, 1) * unit for n in size)
            raise ParameterError(
                f"{type(self).__name__} hides squares of {unit} pixels, which do not fill images of "
                f"{size[0]} x {size[1]}.",
                given=size,
                hint=f"size={below} is a multiple.",
            )
        masked_count((size[0] // unit) * (size[1] // unit), self.mask_ratio)

    def _check_mask(self, mask: Tensor, images: Tensor) -> Tensor:
        expected = (images.shape[0], *self.grid)
        if tuple(mask.shape) != expected:
            raise ShapeError(
                f"a mask of these images is {expected}, one number for each square of {self.mask_size} "
                f"pixels; got {tuple(mask.shape)}.",
                given=tuple(mask.shape),
            )
        return mask.to(images)


def freeze(modules: Iterable[nn.Module | None]) -> None:
    """Keep parts of an encoder that masked image modelling does not use from learning."""
    for module in modules:
        if module is not None:
            module.requires_grad_(False)


def patchify(images: Tensor, patch: int) -> Tensor:
    """(B, C, H, W) → (B, T, C P P), the patches row by row."""
    return F.pixel_unshuffle(images, patch).flatten(2).transpose(1, 2)


def unpatchify(patches: Tensor, patch: int, shape: Iterable[int]) -> Tensor:
    """The inverse of `patchify`; `shape` ends in (H, W)."""
    *_, height, width = shape
    batch, _, values = patches.shape
    channels_first = patches.transpose(1, 2).reshape(batch, values, height // patch, width // patch)
    return F.pixel_shuffle(channels_first, patch)


def _statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch, over its pixels and channels.

    The variance divides by N - 1, as the code that was published with MAE does.
    """
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return mean, (variance + 1e-6).sqrt()


def _seen_in_each(mask: Tensor) -> int:
    """How many units each image shows.

    Raises:
        ShapeError: not the same number in each, or none.
    """
    counts = (mask == 0).flatten(1).sum(1)
    least, most = (int(counts.min()), int(counts.max())) if len(counts) else (1, 1)
    if least != most or least == 0:
        raise ShapeError(
            f"a mask shows the same number of units of each image, at least one; this one {least} to {most}.",
            given=(least, most),
        )
    return least
