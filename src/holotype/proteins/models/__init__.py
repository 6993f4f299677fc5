"""The zoo of the proteins: a file in this folder with a decorated class is a new model."""

# `get_available_models` begins with these, in this order; the encoders come after them.
MODEL_ORDER = (
    "v1",
    "v2",
    "multihead_attention",
    "cross_attention",
    "symmetric_bilinear",
    "symmetric_mlp",
    "intra_inter_attention",
    "contact_map",
)
