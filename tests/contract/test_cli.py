"""What the command promises: exit codes, output that fits, and no torch where none is needed."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from holotype import printing, registry

HOLOTYPE = [sys.executable, "-m", "holotype"]


def run(*words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HOLOTYPE, *words], capture_output=True, text=True, cwd=cwd, env={**os.environ, **env}, check=False
    )


def project(folder: Path, source: str) -> Path:
    (folder / "pyproject.toml").write_text('[tool.holotype]\nzoos = ["zoo_of_mine"]\n')
    (folder / "zoo_of_mine").mkdir()
    (folder / "zoo_of_mine" / "models.py").write_text(f"from holotype import register_model\n{source}")
    return folder


def on_terminal(*words: str, columns: int = 80, **env: str) -> str:
    """What a person sees: the output of a command whose standard output is a terminal."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [*HOLOTYPE, *words],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm", **env},
    )
    os.close(theirs)
    out = b""
    try:
        while block := os.read(ours, 65536):
            out += block
    except OSError:  # the other side is closed
        pass
    child.wait()
    os.close(ours)
    return out.decode().replace("\r\n", "\n")


READ_ONLY = [
    ["list"],
    ["list", "--json"],
    ["list", "--pretrained"],
    ["list", "*lite*", "--task", "image_classification", "--where", "params<6e6"],
    ["info", "v2"],
    ["info", "v2", "--json"],
    ["info", "efficientnet_lite0_imagenet1k"],
    ["tasks"],
    ["zoos"],
    ["verify", "--all"],
    ["cache", "ls"],
    ["cache", "prune", "--dry-run"],
    ["--help"],
    ["list", "--help"],
    ["__complete", "info", "eff"],
]


@pytest.mark.parametrize("words", READ_ONLY, ids=" ".join)
def test_reading_commands_succeed_without_torch(words: list[str]) -> None:
    code = (
        "import sys\n"
        "from holotype.cli import main\n"
        "try: code = main(sys.argv[1:])\n"
        "except SystemExit as done: code = done.code\n"
        "heavy = {'torch', 'numpy', 'PIL'} & set(sys.modules)\n"
        "print('\\nHEAVY', sorted(heavy), code, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert "HEAVY [] 0" in done.stderr, done.stderr


@pytest.mark.parametrize("words", [words for words in READ_ONLY if "--json" not in words], ids=" ".join)
def test_piped_output_fits_80_columns_unless_a_word_is_longer(words: list[str]) -> None:
    for line in run(*words).stdout.splitlines():
        assert len(line) <= 80 or len(line.split()) <= 2, line


def test_piped_output_has_no_colours_and_cuts_no_name(tmp_path: Path) -> None:
    name = "a_model_whose_name_is_much_longer_than_any_terminal_that_a_person_would_ever_open_for_it"
    project(tmp_path, f"@register_model({name!r}, description='x' * 3)\ndef build(): ...\n")
    out = run("list", cwd=tmp_path).stdout
    assert name in out
    assert "\033" not in out


def test_a_terminal_gets_colours_unless_they_are_unwanted() -> None:
    assert "\033[1m" in on_terminal("list")
    assert "\033" not in on_terminal("list", NO_COLOR="1")


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_tables_fit_the_terminal(columns: int) -> None:
    out = re.sub("\033\\[[0-9]*m", "", on_terminal("list", columns=columns))
    assert max(map(len, out.splitlines())) <= columns
    assert "multihead_attention" in out


def test_control_characters_never_reach_the_terminal(tmp_path: Path) -> None:
    project(tmp_path, "@register_model('evil', description='\\x1b]0;owned\\x07\\x1b[2J')\ndef build(): ...\n")
    for words in (["list"], ["info", "evil"]):
        assert "\x1b]" not in run(*words, cwd=tmp_path).stdout
        assert "\x07" not in run(*words, cwd=tmp_path).stdout


EVIL = {
    "description": "a/\x1b[31mred\x1b]0;pwned\x07",
    "paper": "\x9b2Jhttps://example.org/\u202e",
    "\x1b[2Jkey": "x\udc80y",
}


@pytest.mark.parametrize(
    "words", [["list"], ["info", "evil"], ["list", "--json"], ["info", "evil", "--json"]], ids=" ".join
)
def test_nothing_registered_drives_the_terminal(tmp_path: Path, words: list[str]) -> None:
    project(tmp_path, f"@register_model('evil', **{EVIL!a})\ndef build(a='\\x1b]0;x\\x07'): ...\n")
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert controls(done.stdout + done.stderr) == set()
    if "--json" in words:
        found = json.loads(done.stdout)
        found = found if isinstance(found, dict) else next(m for m in found if m["name"] == "evil")
        assert {key: found[key] for key in EVIL} == EVIL


def controls(text: str) -> set[str]:
    return {char for char in text if not char.isprintable()} - {"\n"}


def test_neither_configs_nor_errors_drive_the_terminal(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        'model: {name: v2, "\\e[2Jkey": 1, params: {"\\e]0;pwned\\a": 2, "\\N[31m": [1, "\\e"]}}\n'
    )
    for words in (["check"], ["check", "--json"], ["create", "--config"]):
        done = run(*words, str(config))
        assert done.returncode == 1
        assert "pwned" in done.stdout + done.stderr
        assert controls(done.stdout + done.stderr) == set()
    done = run("create", "v2", "\x1b]0;pwned\x07=1")
    assert "]0;pwned : no such parameter" in done.stderr
    assert len(done.stderr.splitlines()) == 3  # the lines of a message are kept
    assert controls(done.stderr) == set()
    done = run("check", str(tmp_path / "\x1b]0;pwned\x07"))
    assert controls(done.stdout) == set()


def test_a_warning_is_one_line_without_code(tmp_path: Path) -> None:
    source = (
        "from holotype import register_alias\n@register_model('good')\ndef build(): ...\n"
        "register_alias('old', 'good', deprecated='gone \\x1b[2J soon,\\nuse good')\n"
    )
    done = run("info", "old", cwd=project(tmp_path, source))
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("holotype info: warning: 'old' is a deprecated name for 'good'")
    assert line.endswith("soon, use good")
    assert controls(line) == set()


def test_what_an_encoding_cannot_write_is_no_failure(tmp_path: Path) -> None:
    project(tmp_path, "@register_model('good', description='größer 網路')\ndef build(): ...\n")
    for env in (
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ):
        for words in (["info", "good"], ["list"], ["zoos"], ["info", "--help"], ["__complete", ""]):
            done = run(*words, cwd=tmp_path, **env)
            assert (done.returncode, done.stderr) == (0, "")
        done = run("info", "good", "--json", cwd=tmp_path, **env)
        assert json.loads(done.stdout)["description"] == "größer 網路"


def test_wide_signs_take_two_columns(tmp_path: Path) -> None:
    text = "蛋白質相互作用の予測モデル。" * 12
    source = "".join(
        f"@register_model('{name}', description={about!r})\n"
        f"def {name}():\n    '''One line.\n\n    {about}\n    '''\n"
        for name, about in (
            ("wide", text),
            ("mixed", f"a model of {text} and e\u0301e\u0301"),
            ("short", text[:9]),
        )
    )
    project(tmp_path, source)
    for words in (["list", "--zoo", "zoo_of_mine"], ["info", "wide"], ["info", "mixed"]):
        lines = run(*words, cwd=tmp_path).stdout.splitlines()
        assert any(text[:4] in line for line in lines)
        assert max(printing.columns(line) for line in lines if " /" not in line) <= 80
    rows = printing.table(
        ("NAME", "TASK", "ABOUT"), [("a", "網路網", "x"), ("b", "e\u0301", "y")]
    ).splitlines()
    assert [
        printing.columns(row[: row.index(last)]) for row, last in zip(rows, ("ABOUT", "x", "y"), strict=True)
    ] == [14] * 3


def test_exit_codes(tmp_path: Path) -> None:
    assert run("list").returncode == 0
    assert run("info", "no_such_model").returncode == 1
    assert run("list", "--task", "no_such_task").returncode == 1
    assert run("list", "--no-such-option").returncode == 2
    assert run("no_such_verb").returncode == 2
    assert run("check").returncode == 2
    assert run("list", "no*such*name").returncode == 0
    assert run().returncode == 0


def test_errors_go_to_stderr_and_name_the_nearest() -> None:
    done = run("info", "efficientnet_lite")
    assert done.stdout == ""
    assert "Did you mean: efficientnet_lite" in done.stderr
    assert "Traceback" not in done.stderr
    assert "efficientnet_lite0_imagenet1k" in run("info", "efficientnet_lite0_imagenet").stderr


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        ("lst", 2, "Did you mean: list"),
        ("trian x.yaml", 2, "Did you mean: train"),
        ("list resnet50", 0, "did you mean 'resnet_v1_50'?"),
        ("list --pretrained bioclip", 0, "holotype list '*bioclip*'"),
        ("info vit_base_patch16_224", 1, "Did you mean: vit_b16"),
        ("create resnet_v1_50 pretrained=true", 1, "load_pretrained_model("),
    ],
)
def test_what_was_probably_meant_is_named(words: str, code: int, expected: str) -> None:
    done = run(*words.split())
    assert done.returncode == code
    assert expected in done.stderr


def test_create_and_check_look_in_one_zoo(tmp_path: Path) -> None:
    project(tmp_path, '@register_model("v1")\ndef v1(): return __import__("torch").nn.Linear(1, 1)\n')
    (tmp_path / "config.yaml").write_text("model: v1\n")
    assert "is in 2 zoos" in run("create", "v1", cwd=tmp_path).stderr
    assert "is in 2 zoos" in run("check", "config.yaml", cwd=tmp_path).stdout
    made = run("create", "v1", "--zoo", "zoo_of_mine", "--json", cwd=tmp_path)
    assert json.loads(made.stdout)["params"] == 2
    assert run("check", "config.yaml", "--zoo", "zoo_of_mine", cwd=tmp_path).returncode == 0
    assert "Did you mean: zoo_of_mine?" in run("create", "v1", "--zoo", "zoo_of_min", cwd=tmp_path).stderr


def test_json_is_complete_and_parses() -> None:
    models = json.loads(run("list", "--json").stdout)
    v2 = next(model for model in models if model["name"] == "v2")
    assert v2["task"] == "protein_interaction"
    assert v2["complexity"] == "medium"
    assert {parameter["name"] for parameter in v2["parameters"]} >= {"input_dim", "hidden_dim", "num_heads"}
    assert json.loads(run("info", "v2", "--json").stdout) == v2
    entries = json.loads(run("list", "--pretrained", "--json").stdout)
    assert all(entry["formats"] for entry in entries)
    lite = [entry for entry in entries if entry["network"] == "efficientnet_lite0"]
    assert lite and all(entry["formats"]["pt"]["sha256"] for entry in lite if "pt" in entry["formats"])
    assert json.loads(run("zoos", "--json").stdout)[0]["name"] == "proteins"
    interaction = [model for model in models if model["task"] == "protein_interaction"]
    told = next(t for t in json.loads(run("tasks", "--json").stdout) if t["task"] == "protein_interaction")
    assert told["models"] == len(interaction) >= 4
    assert told["pretrained"] == len([e for e in entries if e["task"] == "protein_interaction"])


def test_names_alone_are_one_a_line() -> None:
    listed = run("list", "-q", "--zoo", "proteins", "--order", "registered").stdout
    assert listed.startswith("v1\nv2\nmultihead_attention\ncross_attention\n") and listed.endswith("\n")
    assert not any(" " in name for name in listed.split("\n"))


def test_names_alone_as_json() -> None:
    assert json.loads(run("list", "-q", "--json", "cross*").stdout) == ["cross_attention"]
    assert "efficientnet_lite0_imagenet1k" in json.loads(run("list", "-q", "-p", "--json").stdout)
    assert json.loads(run("list", "-q", "--json", "no*such").stdout) == []


def test_info_tells_of_a_zoo() -> None:
    done = run("info", "Proteins")
    assert done.returncode == 0, done.stderr
    assert "first-party" in done.stdout
    assert "multihead_attention" in done.stdout
    about = json.loads(run("info", "proteins", "--json").stdout)
    assert about["name"] == "proteins"
    assert about["models"] == len(about["names"]) >= 4
    assert "proteins" in run("__complete", "info", "prot").stdout


def test_a_model_goes_before_a_zoo_of_its_name(tmp_path: Path) -> None:
    project(tmp_path, "@register_model('zoo_of_mine')\ndef build(): ...\n")
    assert json.loads(run("info", "zoo_of_mine", "--json", cwd=tmp_path).stdout)["kind"] == "builder"


def test_a_folder_that_has_no_relative_path(monkeypatch: pytest.MonkeyPatch) -> None:
    from holotype.cli import zoos

    def relpath(path: str) -> str:
        raise ValueError("path is on mount 'C:', start on mount 'D:'")

    monkeypatch.setattr(os.path, "relpath", relpath)
    assert zoos._short("C:\\zoo") == "C:\\zoo"


def test_a_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(HOLOTYPE)} list --json | head -1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_check_tells_every_problem_at_once_without_torch(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"model": {"name": "v2", "params": {"hiden_dim": 3, "dropout": "x"}}}))
    good = tmp_path / "good.yaml"
    good.write_text("model: {name: v2, params: {hidden_dim: 64}}\n")
    done = run("check", str(config), str(good), str(tmp_path / "missing.yaml"))
    assert done.returncode == 1
    assert "hidden_dim" in done.stdout
    assert "dropout: expected float" in done.stdout
    assert "good.yaml: ok" in done.stdout
    assert "missing.yaml" in done.stdout
    assert run("check", str(good)).returncode == 0
    assert json.loads(run("check", "--json", str(good)).stdout) == {str(good): []}
    traced = subprocess.run(
        [sys.executable, "-X", "importtime", *HOLOTYPE[1:], "check", str(good)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "holotype.catalog.config" in traced.stderr
    assert not re.search(r"\| +(torch|numpy)$", traced.stderr, re.MULTILINE)


def test_create_builds_from_words_and_from_a_file(tmp_path: Path) -> None:
    words = ("v1", "hidden_dim=64")
    for given in ((*words, "--json"), ("--json", *words), ("v1", "--json", "hidden_dim=64")):
        assert json.loads(run("create", *given).stdout)["params"] == 72193
    config = tmp_path / "config.yaml"
    config.write_text("model: {name: v1, params: {hidden_dim: 64}}\n")
    assert json.loads(run("create", "--config", str(config), "--json").stdout)["params"] == 72193
    wrong = run("create", "v1", "hiden_dim=64", "dropout=much")
    assert wrong.returncode == 1
    assert "hidden_dim" in wrong.stderr
    assert "dropout" in wrong.stderr
    assert run("create", "v1", "hidden_dim").returncode == 1
    for value in ("2020-99-99", "!!bool maybe", "[" * 3000, "{"):
        wrong = run("create", "v1", f"hidden_dim={value}")
        assert wrong.returncode == 1
        assert "the value is not YAML" in wrong.stderr
        assert "Traceback" not in wrong.stderr
    assert run("create").returncode == 1


def test_problems_are_told_with_their_place(tmp_path: Path) -> None:
    project(tmp_path, "@register_model('good')\ndef build(): ...\n")
    (tmp_path / "zoo_of_mine" / "broken.py").write_text(
        "from holotype import register_model\n@register_model('lost')\nclass Lost(:\n    pass\n"
    )
    done = run("list", cwd=tmp_path)
    assert "good" in done.stdout
    assert "lost" not in done.stdout
    assert "1 problem" in done.stderr
    done = run("list", "--problems", cwd=tmp_path)
    assert done.returncode == 1
    assert "broken.py:3" in done.stdout
    assert "lost" in done.stdout
    done = run("info", "lost", cwd=tmp_path)
    assert done.returncode == 1
    assert "syntax error" in done.stdout
    assert run("list", "--problems").returncode == 0


def test_what_is_no_network_is_told_so(tmp_path: Path) -> None:
    project(tmp_path, "@register_model('three')\ndef three(): return 3\n")
    done = run("create", "three", cwd=tmp_path)
    assert done.returncode == 1
    assert "not an nn.Module" in done.stderr
    assert "Traceback" not in done.stderr


def test_refresh_tries_failed_imports_again(tmp_path: Path) -> None:
    source = "NAMES = open('names.txt').read().split()\nfor name in NAMES:\n    register_model(name)(lambda: name)\n"
    project(tmp_path, source)
    assert "late" not in run("list", "-q", cwd=tmp_path).stdout
    (tmp_path / "names.txt").write_text("late")
    assert "late" in run("list", "-q", "--refresh", cwd=tmp_path).stdout
    assert "late" in run("list", "-q", cwd=tmp_path).stdout


def test_an_unwritable_cache_is_told_once_asked() -> None:
    done = run("list", HOLOTYPE_HOME="/dev/null/nowhere")
    assert done.returncode == 0
    assert "v2" in done.stdout
    assert "cannot be kept" in run("list", "--problems", HOLOTYPE_HOME="/dev/null/nowhere").stderr


def test_completion(tmp_path: Path) -> None:
    assert run("__complete", "info", "cross").stdout == "cross_attention\n"
    assert "predict" in run("__complete", "").stdout
    assert run("__complete", "list", "--task", "protein_i").stdout == "protein_interaction\n"
    assert "hidden_dim=" in run("__complete", "create", "v2", "hid").stdout
    for shell in ("bash", "zsh", "fish"):
        assert "holotype __complete" in run("completion", shell).stdout
    for line in run("completion", "fish").stdout.splitlines():  # -f turns off the names of files
        assert " -f" not in line or "not __fish_seen_subcommand_from check predict" in line
    script = tmp_path / "completion.bash"
    script.write_text(run("completion", "bash").stdout)
    code = (
        f"PATH={Path(sys.executable).parent}:$PATH; source {script}; COMP_WORDS=(holotype info cross); "
        "COMP_CWORD=2; _holotype; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "cross_attention\n"


def test_every_verb_has_help_and_stands_in_the_readme() -> None:
    from holotype.cli import VERBS

    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for verb in VERBS:
        assert "usage: holotype " + verb in run(verb, "--help").stdout
        assert f"holotype {verb}" in readme


def header(*words: str, columns: int = 80) -> list[str]:
    return re.sub("\033\\[[0-9]*m", "", on_terminal("list", *words, columns=columns)).split("\n")[0].split()


def test_a_list_shows_the_columns_that_help_to_choose_and_fit() -> None:
    assert header(columns=80) == ["NAME", "PARAMS", "SIZE", "PRETRAINED", "ZOO"]
    assert header(columns=120) == ["NAME", "PARAMS", "SIZE", "PRETRAINED", "TASK", "ZOO"]
    assert header("--zoo", "proteins", "-t", "protein_interaction") == [
        *("NAME", "PARAMS", "PRETRAINED", "DESCRIPTION"),  # neither has a size; zoo and task would repeat
    ]
    assert header("*lite*", "--pretrained", columns=120)[:5] == [
        "NAME",
        "NETWORK",
        "PARAMS",
        "SIZE",
        "METRIC",
    ]
    assert header("efficientnet_lite0", "--columns", "task,name") == ["TASK", "NAME"]
    lines = run("list", "efficientnet_lite0").stdout.split("\n")
    assert lines[1].split()[:5] == ["efficientnet_lite0", "4.7", "M", "224", "1"]


def test_long_names_of_entries_stand_on_lines_of_their_own() -> None:
    out = run("list", "--pretrained").stdout.split("\n")
    assert out[0] == "NAME" and out[1].split() == ["NETWORK", "PARAMS", "SIZE", "METRIC"]
    network = out[1].index("NETWORK"), out[1].index("PARAMS")
    assert all(line[network[0]] != " " and line[network[1] - 1] == " " for line in out[1:-1:2])  # aligned


def test_a_list_is_sorted_by_a_column() -> None:
    names = run("list", "-q", "efficientnet*", "hieradet*", "vit_t*", "--sort", "params").stdout.split()
    assert names.index("efficientnet_lite0") < names.index("efficientnet_lite4")
    params = [registry.get_model_info(name).params for name in names]
    assert params == sorted(params)
    last = json.loads(run("list", "-q", "--json", "--sort", "params").stdout)[-1]
    assert registry.get_model_info(last).params is None  # what is not known comes last
    entries = run("list", "-p", "-q", "*lite*", "--sort", "metric").stdout.split()
    assert entries[0] == "efficientnet_lite0_imagenet1k"


def test_a_column_that_does_not_exist() -> None:
    for words in (["--sort", "parms"], ["--columns", "name,parms"]):
        done = run("list", *words)
        assert done.returncode == 1 and "Did you mean: params?" in done.stderr
