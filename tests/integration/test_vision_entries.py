"""From a published entry of the vision zoo to a network: files in Birder's layout, served as the Hub serves them."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save_file

import holotype
from holotype import load_pretrained_model
from holotype.errors import MismatchError
from holotype.vision import RoPE_ViT, Task, registry

SMALL = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 48, "drop_path_rate": 0.0}
STATS = {"mean": (0.4, 0.5, 0.6), "std": (0.1, 0.2, 0.3)}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub on this machine; its files by their path."""
    held = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            data = held.get(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HOLOTYPE_MIRRORS", raising=False)
    monkeypatch.delenv("HOLOTYPE_OFFLINE", raising=False)
    yield held
    server.shutdown()
    server.server_close()
    thread.join()


def saved(net, path, *, classes, size):
    """A file as Birder writes it: no architecture, no config; in safetensors, JSON in the header."""
    record = {
        "birder_version": "0.8.4",
        "task": "image_classification",
        "signature": {"inputs": [{"data_shape": [0, 3, *size]}], "outputs": [{"data_shape": [0, classes]}]},
        "class_to_idx": {f"species {n}": n for n in range(classes)},
        "rgb_stats": STATS,
    }
    if path.suffix == ".pt":
        torch.save({"state": net.state_dict(), **record}, path)
    else:
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in record.items()}
        save_file(net.state_dict(), path, metadata=texts)
    return path.read_bytes()


def published(hub, view, name, data, format, **metadata):
    hub[f"/birder-project/{name}/resolve/main/{name}.{format}"] = data
    view.register_weights(
        name,
        {
            "url": f"hf://birder-project/{name}@main",
            "formats": {format: {"sha256": hashlib.sha256(data).hexdigest()}},
            **metadata,
        },
        replace=True,
    )


@pytest.mark.parametrize("format", ["pt", "safetensors"])
@pytest.mark.parametrize("classes", [7, 0])
def test_the_file_tells_classes_and_statistics(hub, tmp_path, format, classes):
    """The entry's own name and fields, with a file of a smaller network of the same architecture."""
    name = "vit_l14_pn_bioclip-v2"
    theirs = registry.get_pretrained_metadata(name)
    assert theirs.network == "vit_l14_pn" and theirs.url_of("pt").startswith("hf://birder-project/")
    torch.manual_seed(0)
    net = registry.create_model("vit_l14_pn", num_classes=classes, size=56, **SMALL).eval()
    data = saved(net, tmp_path / f"x.{format}", classes=classes, size=(56, 56))
    view = holotype.Registry().zoo("vision")
    view.register_model_config(
        "vit_l14_pn",
        registry.get_model_class("vit_l14_pn"),
        config={**SMALL, "pre_norm": True, "patch_size": 14, "norm_layer_eps": 1e-5},
    )
    config = {**dict(theirs.config), **SMALL, "size": 56}
    published(
        hub,
        view,
        name,
        data,
        format,
        network="vit_l14_pn",
        tag="bioclip-v2",
        resolution=(56, 56),
        config=config,
    )
    loaded, info = load_pretrained_model(name, inference=True, registry=view)
    images = torch.randn(2, 3, 56, 56)
    with torch.inference_mode():
        assert torch.equal(loaded(images), net(images))
    assert loaded.num_classes == classes and info.config["num_classes"] == classes
    assert dict(info.class_to_idx) == {f"species {n}": n for n in range(classes)}
    assert list(info.rgb_stats["mean"]) == list(STATS["mean"]) and info.resolution == (56, 56)
    assert info.report.new == () and info.report.ignored == ()
    other, info = load_pretrained_model(name, num_classes=3, size=84, registry=view)
    assert other(torch.randn(1, 3, 84, 84)).shape == (1, 3)
    assert info.report.adapted == ("pos_embedding",) and info.resolution == (84, 84)
    assert set(info.report.new) == {"classifier.weight", "classifier.bias"}


def test_another_config_of_the_same_shapes_in_the_file_is_refused(hub, tmp_path):
    net = registry.create_model("vit_l14_pn_quick_gelu", num_classes=3, size=28, **SMALL)
    data = holotype.save_pretrained(net, tmp_path / "x.safetensors").read_bytes()
    view = holotype.Registry().zoo("vision")
    view.register_model_config(
        "vit_l14_pn",
        registry.get_model_class("vit_l14_pn"),
        config={
            **SMALL,
            "pre_norm": True,
            "patch_size": 14,
            "norm_layer_eps": 1e-5,
            "num_classes": 3,
            "size": 28,
        },
    )
    published(hub, view, "vit_l14_pn_x", data, "safetensors", network="vit_l14_pn", tag="x")
    with pytest.raises(MismatchError, match="act_layer_type"):
        load_pretrained_model("vit_l14_pn_x", registry=view)


def test_the_catalog_guide(hub, tmp_path):
    assert registry.list_pretrained_models("*bioclip*")
    assert "convnext_v2_tiny" in registry.list_models(include_filter="*convnext*")
    assert registry.list_models(task=Task.IMAGE_CLASSIFICATION)[:5]
    meta = registry.get_pretrained_metadata("vit_l14_pn_bioclip-v2")
    assert meta["description"] and meta["task"] == Task.IMAGE_CLASSIFICATION
    assert meta["resolution"] == (224, 224) and list(meta["formats"]) == ["pt"]
    with torch.device("meta"):
        net = registry.net_factory("vit_l14_pn", num_classes=500)
    assert net.classifier.out_features == 500
    view = holotype.Registry().zoo("vision")
    view.register_model_config(
        "rope_vit_reg4_b14_custom",
        RoPE_ViT,
        config={
            "patch_size": 14,
            **SMALL,
            "drop_path_rate": 0.15,
            "num_reg_tokens": 4,
            "attn_pool_head": True,
            "rope_temperature": 10000.0,
        },
    )
    torch.manual_seed(0)
    net = view.net_factory("rope_vit_reg4_b14_custom", num_classes=4, size=(70, 42)).eval()
    name = "rope_vit_reg4_b14_custom_plankton"
    data = saved(net, tmp_path / "x.pt", classes=4, size=(70, 42))
    published(
        hub,
        view,
        name,
        data,
        "pt",
        description="Custom RoPE ViT model trained on a plankton dataset",
        resolution=(70, 42),
        net={"network": "rope_vit_reg4_b14_custom", "tag": "plankton"},
    )
    loaded, info = load_pretrained_model(name, inference=True, registry=view)
    images = torch.randn(2, 3, 70, 42)
    with torch.inference_mode():
        assert torch.equal(loaded(images), net(images))
    assert info.network.endswith("rope_vit_reg4_b14_custom") and len(info.class_to_idx) == 4
    assert loaded.size == (70, 42) and loaded.rope.temperature == 10000.0
