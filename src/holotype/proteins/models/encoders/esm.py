"""ESM-2 and ESM C: transformers trained to predict masked amino acids.

Papers: Lin et al., "Evolutionary-scale prediction of atomic-level protein structure with a language model",
Science 2023 (ESM-2); ESM Team, "ESM Cambrian: Revealing the mysteries of proteins with unsupervised
learning", 2024 (ESM C).

The networks are those of the packages ``transformers`` and ``esm``; this module adds the tokens they expect
(a protein between a start and an end token) and removes those two from the result. Heads that an embedding
does not need (masked tokens, contacts) are left out.

Legend of shapes: B proteins, L residues, D embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from holotype.errors import MissingExtraError, ParameterError
from holotype.extras import missing_extra
from holotype.proteins.models.encoders.interface import ProteinEncoder, letters_of, padding_of

# Both read the same tokens: 0 start, 1 padding, 2 end, 3 unknown, then these.
ALPHABET = "LAGVSERTIDPKQNFYMHWCXBUZO"
START, PADDING, END = 0, 1, 2
FIRST = 4
UNKNOWN = 24  # X, and J, which has no token of its own
MASK = 32
TOKENS = 33
TRAINED_ON = 1022  # residues; with start and end, the length to which the authors cut proteins


class _Esm(ProteinEncoder):
    """The common part of both: tokens, and the calls around the network."""

    letters: ClassVar[Mapping[str, int]] = letters_of(ALPHABET, unknown=UNKNOWN, first=FIRST)
    compute_dtypes: ClassVar[tuple[str, ...]] = ("float32", "bfloat16")
    residues_per_batch = 8192

    def embed_residues(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) tokens → (B, L, D), anything at padding."""
        batch, longest = tokens.shape
        if not batch:
            return tokens.new_zeros(batch, longest, self.embedding_dim, dtype=self._dtype())
        framed = tokens.new_full((batch, longest + 2), PADDING)
        framed[:, 0] = START
        framed[:, 1:-1] = tokens.masked_fill(padding_of(tokens, lengths), PADDING)
        framed.scatter_(1, lengths.unsqueeze(1) + 1, END)
        with self._computing():
            emb_BLD = self.embed_framed(framed, framed != PADDING)
        return emb_BLD[:, 1:-1].to(self._dtype())

    def embed_framed(self, tokens: Tensor, there: Tensor) -> Tensor:
        """(B, L + 2) tokens with start and end, and the mask of tokens → (B, L + 2, D)."""
        raise NotImplementedError

    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def _computing(self) -> AbstractContextManager[object]:
        if self.compute_dtype == "float32":
            return nullcontext()
        return torch.autocast(next(self.parameters()).device.type, torch.bfloat16)


class Esm2(_Esm):
    """ESM-2 of ``transformers``: the states after its last layer norm.

    Args:
        embedding_dim: D.
        depth: layers.
        num_heads: attention heads; `embedding_dim` is a multiple of twice their number.

    Raises:
        ParameterError: a value is out of range.
        MissingExtraError: ``transformers`` is not installed.

    Source: Lin et al. 2023, supplementary materials, A.1.
    """

    small_parameters: ClassVar[Mapping[str, object]] = {"embedding_dim": 16, "depth": 2, "num_heads": 2}
    max_residues = TRAINED_ON

    def __init__(self, *, embedding_dim: int = 320, depth: int = 6, num_heads: int = 20) -> None:
        super().__init__()
        _check_sizes(embedding_dim, depth, num_heads)
        self.embedding_dim = embedding_dim
        self.esm = _transformers_esm(embedding_dim, depth, num_heads)

    def embed_framed(self, tokens: Tensor, there: Tensor) -> Tensor:
        """(B, L + 2) → (B, L + 2, D)."""
        states: Tensor = self.esm(input_ids=tokens, attention_mask=there.long()).last_hidden_state
        return states

    @classmethod
    def from_transformers(cls, name: str, **options: Any) -> Esm2:
        """The network of a repository or folder, by the loader of transformers, for weights in several files.

        Nothing is verified here: the weights are those that ``transformers.EsmModel.from_pretrained``
        fetches. Save the network with `holotype.save_pretrained` to get a file with a hash.

        Args:
            name: such as ``"facebook/esm2_t36_3B_UR50D"``, or a folder.
            **options: passed on, such as ``revision="476b6399…"``.

        Raises:
            ParameterError: it is not an ESM-2.
            MissingExtraError: ``transformers`` is not installed.
        """
        from holotype.catalog.registry import default_registry
        from holotype.weights.empty import build_empty

        try:
            from transformers import EsmModel
        except ImportError as error:
            raise missing_extra(error, "ESM-2") or error from error
        loaded = EsmModel.from_pretrained(name, add_pooling_layer=False, **options)
        config = loaded.config
        if config.position_embedding_type != "rotary" or config.vocab_size != TOKENS:
            raise ParameterError(
                f"{name!r} is not an ESM-2: {config.position_embedding_type} positions.", given=name
            )
        sizes = {
            "embedding_dim": config.hidden_size,
            "depth": config.num_hidden_layers,
            "num_heads": config.num_attention_heads,
        }
        names = [
            info.name
            for info in map(
                default_registry.get_model_info, default_registry.zoo("proteins").list_models("esm2_*")
            )
            if all(info.config.get(key) == value for key, value in sizes.items())
        ]
        architecture, given = (names[0], {}) if names else ("esm2_t6_8m", sizes)
        net = build_empty(lambda: default_registry.create_model(f"proteins/{architecture}", **given))
        net.esm = _stripped(loaded)
        return net  # type: ignore[return-value]  # the registry knows only modules


class EsmC(_Esm):
    """ESM C of the package ``esm``: the states after its last layer norm.

    Args:
        embedding_dim: D.
        depth: layers.
        num_heads: attention heads.

    Raises:
        ParameterError: a value is out of range.
        MissingExtraError: ``esm`` is not installed.

    Source: ESM Team 2024, "ESM Cambrian"; the network is that of the package ``esm``.
    """

    small_parameters: ClassVar[Mapping[str, object]] = {"embedding_dim": 16, "depth": 2, "num_heads": 2}
    max_residues = 2046  # with start and end, the length of the second stage of the authors' training

    def __init__(self, *, embedding_dim: int = 960, depth: int = 30, num_heads: int = 15) -> None:
        super().__init__()
        _check_sizes(embedding_dim, depth, num_heads)
        try:
            from esm.models.esmc import ESMC  # type: ignore[import-not-found]  # an optional package
        except ImportError as error:
            raise MissingExtraError(
                f"ESM C needs the package esm of EvolutionaryScale, which cannot be imported: {error}.",
                given="esm",
                hint="pip install esm   (not fair-esm, which uses the same name)",
            ) from error
        self.embedding_dim = embedding_dim
        whole = ESMC(embedding_dim, num_heads, depth, tokenizer=None, use_flash_attn=False)
        self.embed = whole.embed
        self.transformer = whole.transformer

    def embed_framed(self, tokens: Tensor, there: Tensor) -> Tensor:
        """(B, L + 2) → (B, L + 2, D)."""
        states: Tensor = self.transformer(self.embed(tokens), sequence_id=there)[0]
        return states


def _check_sizes(embedding_dim: int, depth: int, num_heads: int) -> None:
    if min(embedding_dim, depth, num_heads) < 1 or embedding_dim % (2 * num_heads):
        raise ParameterError(
            f"embedding_dim, depth and num_heads are 1 or more, and embedding_dim is a multiple of twice "
            f"num_heads; got {embedding_dim}, {depth} and {num_heads}.",
            given=(embedding_dim, depth, num_heads),
        )


def _transformers_esm(embedding_dim: int, depth: int, num_heads: int) -> nn.Module:
    try:
        from transformers import EsmConfig, EsmModel
    except ImportError as error:
        raise missing_extra(error, "ESM-2") or error from error
    config = EsmConfig(
        vocab_size=TOKENS,
        hidden_size=embedding_dim,
        num_hidden_layers=depth,
        num_attention_heads=num_heads,
        intermediate_size=4 * embedding_dim,
        max_position_embeddings=TRAINED_ON + 4,
        position_embedding_type="rotary",
        pad_token_id=PADDING,
        mask_token_id=MASK,
        token_dropout=True,
        emb_layer_norm_before=False,
        layer_norm_eps=1e-5,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return _stripped(EsmModel(config, add_pooling_layer=False))


def _stripped(net: Any) -> nn.Module:
    """Remove the head for contacts, and everything but learnt parameters from the state."""
    net.contact_head = None
    if hasattr(net.embeddings, "position_embeddings"):
        del net.embeddings.position_embeddings  # some versions have an unused one
    for module in net.modules():
        # Frequencies and positions are constants; versions save them differently or not at all.
        module._non_persistent_buffers_set.update({"inv_freq", "position_ids"} & set(module._buffers))
    result: nn.Module = net
    return result
