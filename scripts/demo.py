"""The main job on real input: ``make demo``.

Each step prints its commands or lines of Python, and their output. If the output is not the right answer, the
step stops the demo with an error.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENTRY = "efficientnet_lite0_imagenet1k"
INTERACTION = "symmetric_mlp_bernett-statistics"
PROTEINS = HERE.parent / "examples" / "human_proteins.fasta"
PHOTO = "coffee"


COMMAND = (sys.executable, "-m", "holotype")


class WrongAnswer(SystemExit):
    """A step did not do what it promises."""


def main() -> None:
    """Run every step in a folder that is thrown away."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="holotype-demo-") as folder:
        project = Path(folder)
        os.chdir(project)
        every_zoo()
        by_task()
        describe()
        new_file(project)
        from_yaml(project)
        photograph(project)
        interactome(project)
        training(project)
        digits(project)
        typo(project)
    print(f"\nAll 10 steps gave the right answer, in {time.perf_counter() - started:.0f} s.")


def every_zoo() -> None:
    step(1, "List every model of every zoo, without importing torch")
    out = shell("holotype list")
    expect("v2" in out and "efficientnet_lite0" in out, "both zoos are listed")
    lines = shell("python -X importtime -c 'import holotype; holotype.list_models()'", show=False)
    expect("holotype.catalog.entries" in lines and "torch" not in lines, "listing does not import torch")


def by_task() -> None:
    step(2, "Filter by task, by name, by metadata")
    out = shell("holotype list --task protein_interaction --names")
    names = {"cross_attention", "multihead_attention", "v1", "v2"}
    expect(names < set(out.split()), "the four models of protein interaction, and more")
    out = shell("holotype list '*lite*' --where 'params<6e6' --names")
    expect(out.split() == ["efficientnet_lite0", "efficientnet_lite1"], "two models of less than 6 M")


def describe() -> None:
    step(3, "Describe one")
    out = shell("holotype info v2 --params")
    expect("740,609" in out and "AttentionProteinClassifier" in out, "v2 has 740,609 parameters")


def new_file(project: Path) -> None:
    step(4, "Put a model file into a project: it is registered without an import")
    write(project / "pyproject.toml", '[tool.holotype]\nzoos = ["src.model"]\n')
    write(project / "src/model/__init__.py", "")
    import holotype

    expect(not holotype.exists("v3"), "v3 does not exist yet")
    write(
        project / "src/model/v3.py",
        """\
        import torch
        from holotype import register_model
        from holotype.proteins import BaseProteinModel

        @register_model("v3", description="Dot product of mean embeddings", complexity="low")
        class DotProduct(BaseProteinModel):
            def __init__(self, scale: float = 1.0):
                super().__init__()
                self.scale = torch.nn.Parameter(torch.tensor(scale))

            def forward(self, emb_a, emb_b, lengths_a, lengths_b):
                return self.scale * (emb_a.mean(1) * emb_b.mean(1)).sum(1)
        """,
        show=True,
    )
    python(
        """\
        import holotype
        print(holotype.list_models(zoo="src.model"), holotype.get_model_info("v3").task)
        print(holotype.create_model("v3", scale=0.5))
        """,
        "['v3'] protein_interaction",
    )
    expect(holotype.exists("v3"), "the running process sees it too")


def from_yaml(project: Path) -> None:
    step(5, "Build the model that a YAML file names, and score a batch")
    write(
        project / "config.yaml",
        """\
        model:
          name: cross_attention
          params: {input_dim: 64, hidden_dim: 32, num_heads: 4, symmetry: average}
        """,
        show=True,
    )
    shell("holotype check config.yaml")
    python(
        """\
        import holotype, torch
        torch.manual_seed(0)
        net = holotype.create_from_config("config.yaml").eval()
        a, b = torch.randn(3, 50, 64), torch.randn(3, 70, 64)
        la, lb = torch.tensor([50, 20, 9]), torch.tensor([70, 33, 1])
        logits = net(a, b, la, lb)
        print("probabilities", torch.sigmoid(logits).tolist())
        print("symmetric:", torch.allclose(logits, net(b, a, lb, la), atol=1e-6))
        a[1, 20:] = float("nan")  # the second protein has 20 residues; the rest is padding
        print("padding ignored:", torch.allclose(logits, net(a, b, la, lb), atol=1e-6))
        """,
        "symmetric: True\npadding ignored: True\n",
    )


def photograph(project: Path) -> None:
    step(6, "Fetch real ImageNet weights and a real photograph, verify both, classify")
    photo = tomllib.loads((HERE / "photographs.toml").read_text())[PHOTO]
    print(f"# {photo['shows']}; {photo['license']}, {photo['credit']}")
    python(
        f"""\
        from holotype.store.fetch import fetch
        photo = fetch("{photo["url"]}",
                      sha256="{photo["sha256"]}")
        import shutil; shutil.copyfile(photo, "{PHOTO}.png")
        """,
    )
    out = shell(f"holotype predict {ENTRY} {PHOTO}.png")
    first = out.splitlines()[1].split(maxsplit=1)[1]
    expect(first in photo["classes"], f"the photograph shows {photo['classes']}, first is {first!r}")


def interactome(project: Path) -> None:
    step(7, "Score a dozen human proteins against each other, with a model that ships in the package")
    shutil.copyfile(PROTEINS, project / "human.fasta")
    out = shell(f"holotype info {INTERACTION}")
    expect("auroc" in out, "its figures on the test pairs are printed")
    out = shell(
        f"holotype predict {INTERACTION} --fasta human.fasta --all-vs-all -o scores.tsv --picture matrix.png"
    )
    expect("66 pairs" in out, "12 proteins make 66 pairs")
    lines = (project / "scores.tsv").read_text().splitlines()[1:]
    best = sorted(lines, key=lambda line: -float(line.split("\t")[2]))[:3]
    print("The three most probable pairs:", *best, sep="\n  ")
    expect(len(lines) == 66 and all(0 < float(line.split("\t")[2]) < 1 for line in lines), "probabilities")
    kept = HERE.parent / ".demo"
    kept.mkdir(exist_ok=True)
    shutil.copyfile(project / "matrix.png", kept / "matrix.png")
    print(f"The picture: {kept.name}/matrix.png")


def training(project: Path) -> None:
    step(8, "Train a model from a recipe, and measure it beside baselines")
    data, pairs, epochs = "{name: guo_yeast, split: {protocol: c3, seed: 1}}", 256, 6
    if subprocess.run([*COMMAND, "data", "get", "guo_yeast"], capture_output=True, check=False).returncode:
        print("# The yeast data cannot be fetched (no network). The following data is SYNTHETIC:")
        print("# it only shows that training works.")
        synthetic(project)
        data = "{train: train.tsv, val: val.tsv, test: test.tsv, sequences: synthetic.fasta}"
        pairs, epochs = 64, 25
    write(
        project / "recipe.yaml",
        f"""\
        model: {{name: symmetric_mlp, params: {{hidden_dim: 64, input_dropout: 0.1}}}}
        data: {data}
        encoder: sequence_statistics
        batch: {{pairs: {pairs}}}
        trainer: {{max_epochs: {epochs}}}
        optimizer: {{lr: 0.003}}
        seed: 1
        """,
        show=True,
    )
    out = shell("holotype train recipe.yaml -o run")
    expect((project / "run/report.html").is_file(), "there is a report")
    auroc = float(out.split("test  ")[1].split("auroc ")[1].split(",")[0])
    expect(auroc > 0.53, "the model predicts interactions of unseen proteins better than chance")
    out = shell("holotype predict run --fasta human.fasta --all-vs-all --top-k 1 -o best.tsv")
    expect((project / "best.tsv").is_file(), "the run folder is a model")


def synthetic(project: Path) -> None:
    """Write proteins that are rich in K or in E; a pair of different kinds interacts."""
    rng = random.Random(1)
    proteins = {}
    for part, count in (("train", 120), ("val", 40), ("test", 40)):
        names = []
        for at in range(count):
            rich = "KE"[at % 2]
            proteins[f"{part}{at}"] = "".join(rng.choices(f"ACDEFGHIKLMNPQRSTVWY{rich * 6}", k=80))
            names.append(f"{part}{at}")
        pairs = {tuple(sorted(rng.sample(range(count), 2))) for _ in range(8 * count)}
        rows = [f"{names[a]}\t{names[b]}\t{(a + b) % 2}" for a, b in sorted(pairs)]
        write(project / f"{part}.tsv", "\n".join(["protein_a\tprotein_b\tlabel", *rows]) + "\n")
    text = "".join(f">{name}\n{sequence}\n" for name, sequence in proteins.items())
    write(project / "synthetic.fasta", text)


def digits(project: Path) -> None:
    step(9, "Train a last layer on handwritten digits, over ImageNet weights; test on unseen digits")
    shutil.copyfile(HERE.parent / "recipes/vision/digits_linear_probe.yaml", project / "digits.yaml")
    print(textwrap.indent((project / "digits.yaml").read_text(), "  "))
    out = shell("holotype train digits.yaml trainer.max_epochs=2 -o digits")
    accuracy = float(out.split("test  ")[1].split("accuracy ")[1].split()[0])
    expect(accuracy > 0.8, "the test accuracy is above 0.8 (chance is 0.1)")
    python(
        """\
        from holotype.vision.data.load import load_image_dataset
        load_image_dataset("digits").splits["test"].open(0).save("digit.png")
        """
    )
    out = shell("holotype predict digits digit.png -k 2")
    expect("digit.png" in out, "the run folder is a model")


def typo(project: Path) -> None:
    step(10, "Make mistakes")
    out = shell("holotype info efficientnet_light0", fails=1)
    expect("Did you mean: efficientnet_lite0" in out, "the nearest name is suggested")
    write(
        project / "wrong.yaml",
        """\
        model:
          name: v2
          params: {hiden_dim: 256, dropout: "high", num_heads: 8}
        """,
        show=True,
    )
    out = shell("holotype check wrong.yaml", fails=1)
    expect("hidden_dim" in out and "dropout: expected float" in out, "every problem is listed at once")


# -- showing and checking ------------------------------------------------------------------------


def step(number: int, title: str) -> None:
    print(f"\n━━ {number}. {title}\n")


def shell(command: str, *, fails: int = 0, show: bool = True) -> str:
    """Run a command in the demo's folder; return what it printed."""
    if show:
        print(f"$ {command}", flush=True)
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, check=False
    )
    if show or done.returncode != fails:
        print(done.stdout, end="", flush=True)
    expect(done.returncode == fails, f"exit code {fails}, not {done.returncode}")
    return done.stdout


def python(code: str, contains: str = "") -> None:
    """Run Python in a fresh process; it must print `contains`."""
    code = textwrap.dedent(code)
    print(textwrap.indent(code, ">>> "), end="", flush=True)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(done.stdout, end="")
    expect(done.returncode == 0 and contains in done.stdout, f"it prints {contains!r}")


def write(path: Path, text: str, *, show: bool = False) -> None:
    text = textwrap.dedent(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if show:
        print(f"# {path.name}")
        print(textwrap.indent(text, "  "))


def expect(right: bool, what: str) -> None:
    if not right:
        raise WrongAnswer(f"\nWRONG: expected that {what}.")


if __name__ == "__main__":
    if shutil.which("holotype") is None and not Path(sys.executable).with_name("holotype").exists():
        raise SystemExit("the command 'holotype' is not installed; run 'make demo'")
    main()
