"""A user's own file may be written over while its network lives: the network, and the process, live on."""

import subprocess
import sys

import pytest

SAVE_OVER = """
import sys, torch, holotype
path, kind = sys.argv[1:]
net = holotype.create_model("v1", hidden_dim=64)
if kind == "pt":
    torch.save(net.state_dict(), path)
    loaded, _ = holotype.load_checkpoint(path, architecture="v1", config={"hidden_dim": 64})
else:
    holotype.save_pretrained(net, path)
    loaded, _ = holotype.load_checkpoint(path)
before = {name: tensor.clone() for name, tensor in loaded.state_dict().items()}
with open(path, "r+b") as file:
    file.truncate(0)
torch.save(loaded.state_dict(), path)
assert all(torch.equal(before[name], tensor) for name, tensor in loaded.state_dict().items())
with open(path, "rb") as file:
    saved = torch.load(file, weights_only=True)
assert all(torch.equal(before[name], saved[name]) for name in before)
print("alive")
"""


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_a_file_may_be_saved_over_by_the_network_that_came_from_it(tmp_path, kind):
    path = tmp_path / f"own.{kind}"
    done = subprocess.run([sys.executable, "-c", SAVE_OVER, path, kind], capture_output=True, text=True)
    assert done.stdout == "alive\n", (done.returncode, done.stderr)
