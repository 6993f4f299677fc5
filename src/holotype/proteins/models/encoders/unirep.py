"""UniRep: a multiplicative LSTM trained to predict the next amino acid of UniRef50.

Paper: Alley, Khimulya, Biswas, AlQuraishi and Church, "Unified rational protein engineering with
sequence-based deep representation learning", Nature Methods 2019. The cell is that of Krause, Lu, Murray
and Renals, "Multiplicative LSTM for sequence modelling", 2016 (arXiv 1609.07959), equations 16 to 22; its
four matrices are weight-normalised (Salimans and Kingma 2016)::

    m = (x Wmx) * (h Wmh)
    i, f, o, u = x Wx + m Wh + b           in this order
    c' = sigmoid(f) * c + sigmoid(i) * tanh(u)
    h' = sigmoid(o) * tanh(c')

A start token is read first; the embedding of residue t is h after residue t was read, so it depends on the
residues before it and on none after it. The paper's vector of a protein is the mean of these rows. The code
of the authors includes the row of the start token; this one does not.

The paper's head, which predicts the next residue, is left out.

Legend of shapes: B proteins, L residues, H width of a layer, N layers; P residues of a batch in the order in
which they are read: all first residues, all second ones and so on, longer proteins before shorter ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holotype.errors import ParameterError
from holotype.proteins.models.encoders.interface import ProteinEncoder, letters_of

ALPHABET = "-MRHKDESTNQCUGPAVIFYWLO"
UNKNOWN = 23  # B, J, X and Z
START = 24
TOKENS = 26  # the last one is a stop token, which is never read here
INPUT_DIM = 10
SMALLEST_NORM = 1e-6  # the authors take the root of at least 1e-12

# Numbers of a chunk's input projections: 64 MiB in single precision.
_CHUNK = 2**24


class Weights(NamedTuple):
    """The matrices of one layer, normalised."""

    wx: Tensor  # (X, 4H)
    wh: Tensor  # (H, 4H)
    wmx: Tensor  # (X, H)
    wmh: Tensor  # (H, H)
    b: Tensor  # (4H,)


class MLSTM(nn.Module):
    """One layer: the parameters of a multiplicative LSTM, under the names of the published files."""

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        for name, rows, columns in (
            ("x", input_dim, 4 * hidden_dim),
            ("h", hidden_dim, 4 * hidden_dim),
            ("mx", input_dim, hidden_dim),
            ("mh", hidden_dim, hidden_dim),
        ):
            self.register_parameter(f"w{name}", nn.Parameter(nn.init.normal_(torch.empty(rows, columns))))
            self.register_parameter(f"g{name}", nn.Parameter(torch.ones(columns)))
        self.b = nn.Parameter(torch.zeros(4 * hidden_dim))

    def weights(self) -> Weights:
        """The matrices, each column scaled to the length that its gain says."""
        own = {
            f"w{name}": F.normalize(self.get_parameter(f"w{name}"), dim=0, eps=SMALLEST_NORM)
            * self.get_parameter(f"g{name}")
            for name in ("x", "h", "mx", "mh")
        }
        return Weights(**own, b=self.b)


class UniRep(ProteinEncoder):
    """UniRep: residue embeddings from a recurrent network that reads a protein from its N-terminus.

    Args:
        hidden_dim: H.
        depth: N, the number of layers.
        layers: ``"last"`` for the states of the last layer, D = H; ``"all"`` for those of all layers side by
            side, the first layer first, D = N H.

    Raises:
        ParameterError: a value is out of range.

    Source: Alley et al. 2019, Methods, "mLSTM"; Krause et al. 2016, equations 16 to 22.
    """

    letters: ClassVar[Mapping[str, int]] = letters_of(ALPHABET, unknown=UNKNOWN)
    compute_dtypes: ClassVar[tuple[str, ...]] = ("float32", "bfloat16")
    small_parameters: ClassVar[Mapping[str, object]] = {"hidden_dim": 8, "depth": 2}
    residues_per_batch = 32_768  # a step multiplies a row for each protein: few rows are slow

    def __init__(
        self, *, hidden_dim: int = 256, depth: int = 4, layers: Literal["last", "all"] = "last"
    ) -> None:
        super().__init__()
        if hidden_dim < 1 or depth < 1:
            raise ParameterError(
                f"hidden_dim and depth are 1 or more, got {hidden_dim} and {depth}.",
                given=(hidden_dim, depth),
            )
        if layers not in ("last", "all"):
            raise ParameterError(f"layers is 'last' or 'all', got {layers!r}.", given=layers)
        self.hidden_dim = hidden_dim
        self.depth = depth
        self.layers = layers
        self.embedding_dim = hidden_dim * (depth if layers == "all" else 1)
        self.embedding = nn.Parameter(nn.init.normal_(torch.empty(TOKENS, INPUT_DIM)))
        self.mlstm = nn.ModuleList(
            MLSTM(hidden_dim if layer else INPUT_DIM, hidden_dim) for layer in range(depth)
        )

    def embed_residues(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) tokens → (B, L, D), 0 at padding."""
        batch, longest = tokens.shape
        kept = range(self.depth) if self.layers == "all" else (self.depth - 1,)
        emb = self.embedding.new_zeros(batch * longest, self.embedding_dim)
        if not batch:
            return emb.view(batch, longest, self.embedding_dim)
        learning = torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())
        read = _read if learning else _read_in_place
        product = _product_bfloat16 if self.compute_dtype == "bfloat16" else torch.mm
        own = [layer.weights() for layer in self.mlstm if isinstance(layer, MLSTM)]
        first = own[0]
        states = _after_start(self.embedding[START], own, batch)
        if self.compute_dtype == "bfloat16":
            own = [
                w._replace(**{name: getattr(w, name).bfloat16() for name in w._fields if name != "b"})
                for w in own
            ]
        # The first layer sees one of 26 vectors: project those, then look up.
        table_m, table_z = self.embedding @ first.wmx, torch.addmm(first.b, self.embedding, first.wx)

        tokens_P, places_P, counts = _reading_order(tokens, lengths)
        found: list[Tensor] = []
        at = 0
        for some in _chunks(counts, 4 * self.hidden_dim):
            here = slice(at, at := at + sum(some))
            x_PH = tokens_P[here]
            states_of_chunk = []
            for layer, w in enumerate(own):
                if layer == 0:
                    m_PH, z_P4H = table_m[x_PH], table_z[x_PH]
                else:
                    m_PH, z_P4H = product(x_PH, w.wmx), product(x_PH, w.wx) + w.b
                x_PH, states[layer] = read(m_PH, z_P4H, states[layer], some, w)
                if layer in kept:
                    states_of_chunk.append(x_PH)
            rows = torch.cat(states_of_chunk, dim=1) if len(states_of_chunk) > 1 else states_of_chunk[0]
            if learning:
                found.append(rows)
            else:
                emb[places_P[here]] = rows
        if learning:
            emb = emb.index_copy(0, places_P, torch.cat(found))
        return emb.view(batch, longest, self.embedding_dim)


class State(NamedTuple):
    """The state of a layer for the proteins that are still being read, longest first."""

    h: Tensor
    c: Tensor


def _after_start(start: Tensor, own: list[Weights], batch: int) -> list[State]:
    """The states of all layers after the start token; before it, h and c are 0."""
    states = []
    x = start.unsqueeze(0)
    for w in own:
        i, _, o, u = torch.addmm(w.b, x, w.wx).chunk(4, dim=1)
        c = i.sigmoid() * u.tanh()
        x = o.sigmoid() * c.tanh()
        states.append(State(x.repeat(batch, 1), c.repeat(batch, 1)))
    return states


def _reading_order(tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, list[int]]:
    """Residues in the order in which they are read.

    Returns:
        (P,) tokens; (P,) their flat indices in the batch; and for each step, the number of proteins that
        still have a residue.
    """
    longest = int(lengths.max())
    sorted_B, order_B = lengths.sort(descending=True, stable=True)
    steps = torch.arange(longest, device=tokens.device).unsqueeze(1)
    there_LB = steps < sorted_B
    places_LB = order_B * tokens.shape[1] + steps
    return (
        tokens[order_B, :longest].T[there_LB],
        places_LB[there_LB],
        there_LB.sum(1).tolist(),
    )


def _chunks(counts: list[int], width: int) -> list[list[int]]:
    """Steps in groups of at least one, so that the projections of a group fit in bounded memory."""
    groups: list[list[int]] = []
    room = 0
    for count in counts:
        room -= count * width
        if room < 0 or not groups:
            groups.append([])
            room = _CHUNK - count * width
        groups[-1].append(count)
    return groups


def _product_bfloat16(x: Tensor, w: Tensor) -> Tensor:
    return torch.mm(x.bfloat16(), w).to(x.dtype)


def _read(m_PH: Tensor, z_P4H: Tensor, state: State, counts: list[int], w: Weights) -> tuple[Tensor, State]:
    """Read a chunk, with gradients.

    Args:
        m_PH: x Wmx of its residues.
        z_P4H: x Wx + b.
        state: of the layer.
        counts: proteins read in each step.
        w: the weights, in the dtype of the products.

    Returns:
        (P, H) h of each residue, and the state for the next chunk.
    """
    product = torch.mm if w.wh.dtype is m_PH.dtype else _product_bfloat16
    h, c = state
    found = []
    for n, xm, xz in zip(counts, torch.split(m_PH, counts), torch.split(z_P4H, counts), strict=True):
        m = xm * product(h[:n], w.wmh)
        i, f, o, u = (xz + product(m, w.wh)).chunk(4, dim=1)
        c = f.sigmoid() * c[:n] + i.sigmoid() * u.tanh()
        h = o.sigmoid() * c.tanh()
        found.append(h)
    return torch.cat(found), State(h, c)


def _read_in_place(
    m_PH: Tensor, z_P4H: Tensor, state: State, counts: list[int], w: Weights
) -> tuple[Tensor, State]:
    """The same without gradients and with little new memory: it overwrites its arguments."""
    width = state.h.shape[1]
    narrow = w.wh.dtype is not m_PH.dtype
    h, c = state
    out_PH = torch.empty_like(m_PH)
    # Views of all steps at once: making each in its step takes a small network much of its time.
    gates, news = torch.split(z_P4H[:, : 3 * width], counts), torch.split(z_P4H[:, 3 * width :], counts)
    i_, f_, o_ = (torch.split(z_P4H[:, at * width : (at + 1) * width], counts) for at in range(3))
    zs, ms, hs = (torch.split(whole, counts) for whole in (z_P4H, m_PH, out_PH))
    for n, m, z, gate, i, f, o, u, h_new in zip(counts, ms, zs, gates, i_, f_, o_, news, hs, strict=True):
        if n != len(c):
            h, c = h[:n], c[:n]
        if narrow:
            m.mul_(torch.mm(h.bfloat16(), w.wmh))
            z.add_(torch.mm(m.bfloat16(), w.wh))
        else:
            m.mul_(torch.mm(h, w.wmh))
            z.addmm_(m, w.wh)
        gate.sigmoid_()
        u.tanh_()
        c.mul_(f).addcmul_(i, u)
        torch.tanh(c, out=h_new).mul_(o)
        h = h_new
    return out_PH, State(h, c)
