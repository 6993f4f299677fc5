"""The zoos of this package pass the suite that every zoo can inherit."""

from holotype.testing import conformance

# The vision zoo has some three hundred names of a dozen classes: each class, and each switch of the grammar
# at least once. `tests/unit/test_vision_names.py` builds every name.
VISION = [
    *(f"efficientnet_lite{n}" for n in range(5)),
    "vit_t16",
    "vit_reg4_t16_pn_npn_nps_ls_aps",
    "vit_t16_rms_qkn_hmlp_bn_quick_gelu_nap_avg",
    "vit_t16_hmlp_nf_soft_moe_4e_2s_eps",
    "rope_vit_t16",
    "rope_a_vit_reg1_t16_nape_nf_swiglu_ap",
    "rope_cs_vit_t16_swiglu_ep",
    "rope_i_vit_t14_ls",
    "deit_t16",
    "deit3_reg4_t16",
    "flexivit_s16",
    "convnext_v1_atto",
    "convnext_v2_atto",
    "hieradet_tiny",
    "hieradet_d_tiny",
    "hiera_tiny",
    "hiera_abswin_base_plus_ap",
    "resnet_v1_18",
    "se_resnet_d_50",
    "resnet_v1_50_c1",
    "retinanet",
    "fcos",
    "faster_rcnn",  # skipped without torchvision, and tested in `tests/parity/test_faster_rcnn.py`
    "detr",
    "deformable_detr",
    "mae_vit",
    "simmim",
    "mae_hiera",
    "fcmae",
    "simclr",
    "byol",
    "vicreg",
    "barlow_twins",
    "dino_v1",
    "dino_v2",
    "i_jepa",
]

TestProteins = conformance("proteins")
TestVision = conformance("vision", names=VISION)
