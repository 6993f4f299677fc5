"""The cache is derived: whatever happens to it costs time and nothing else."""

import os
import shutil
from zlib import crc32

import pytest

from holotype.catalog.index import SCHEMA

CACHE = f"index-{SCHEMA}"
V1 = 'from holotype import register_model\n@register_model("{0}")\nclass Net: pass\n'
LOOK = """
import holotype
r = holotype.registry
result = [r.list_models(zoo="src.model"), r.get_model_info("src.model/n1").line, "v2" in str(r.list_models()),
          len(r.list_pretrained_models()) > 0, r.cache_problem]
"""
RIGHT = [["n1"], 3, True, True]


@pytest.fixture
def zoo(project):
    return project.write({"src/model/__init__.py": "", "src/model/v1.py": V1.format("n1")})


def kept(project):
    """Every file of the cache: one for each zoo, and one for each project."""
    return sorted((project.home / CACHE).iterdir())


def truncated(path, size):
    path.write_bytes(path.read_bytes()[:size])


def scribbled(path):
    content = bytearray(path.read_bytes())
    for at in range(100, len(content), 512):
        content[at : at + 64] = b"\xde\xad\xbe\xef" * 16
    path.write_bytes(content)


def changed(path, change):
    """Other content under a checksum that fits."""
    first, *lines = path.read_bytes().split(b"\n")
    content = b"\n".join(change(lines))
    path.write_bytes(b"%08x" % crc32(content) + first[8:] + b"\n" + content)


def other_stamp(lines):
    """Makes every file of the zoo look changed, so that what is kept of the files is read as well."""
    return [*lines[:4], *(line + b"0" for line in lines[4:5]), *lines[5:]]


DAMAGE = {
    "deleted": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated to 100 bytes": lambda path: truncated(path, 100),
    "truncated to a half": lambda path: truncated(path, path.stat().st_size // 2),
    "one byte short": lambda path: truncated(path, path.stat().st_size - 1),
    "garbage": lambda path: path.write_bytes(os.urandom(10_000)),
    "text": lambda path: path.write_text("hello\n" * 1000),
    "numbers": lambda path: path.write_text("1\n2\n3\n"),
    "scribbled over": scribbled,
    "of another key": lambda path: path.write_bytes(b"[" + path.read_bytes()),
    "nested without end": lambda path: path.write_text("[" * 100_000),
    "nested without end, checksum right": lambda path: changed(path, lambda lines: [b"[" * 100_000]),
    "no lines": lambda path: changed(path, lambda lines: []),
    "counts that are none": lambda path: changed(path, lambda lines: [b"x y", *lines[1:]]),
    "counts that are too high": lambda path: changed(path, lambda lines: [b"9 99", *lines[1:]]),
    "counts that are negative": lambda path: changed(path, lambda lines: [b"-3 -4", *lines[1:]]),
    "rows that are none": lambda path: changed(
        path, lambda lines: [line.replace(b"\t", b" ") for line in lines]
    ),
    "problems that are none": lambda path: changed(path, lambda lines: [*lines[:3], b"[3]", *lines[4:]]),
    "details lost": lambda path: changed(
        path, lambda lines: lines[:-1] if path.suffix in (".entries", ".files") else lines
    ),
    "not text": lambda path: changed(path, lambda lines: [line + b"\xff" for line in lines]),
    "another stamp": lambda path: changed(path, other_stamp),
    "another stamp and files nested without end": lambda path: changed(
        path, lambda lines: other_stamp(lines) if path.suffix == ".entries" else [b"[" * 100_000]
    ),
    "another stamp and files that are none": lambda path: changed(
        path,
        lambda lines: other_stamp(lines) if path.suffix == ".entries" else [b'{"src.model": [1]}', b"{}"],
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_made_anew(zoo, damage):
    assert zoo.run(LOOK) == [*RIGHT, None]
    for path in kept(zoo):
        DAMAGE[damage](path)
    assert zoo.run(LOOK)[:4] == RIGHT
    assert zoo.run(LOOK) == [*RIGHT, None]  # and it is a cache again


def test_details_that_somebody_else_wrote_with_their_checksum(zoo):
    zoo.run(LOOK)
    for path in kept(zoo):
        head, body = path.read_bytes().split(b"\n", 1)
        body = body.replace(b'{"', b"{]")
        path.write_bytes(b"%08x" % crc32(body) + head[8:] + b"\n" + body)
    code = """
        import holotype
        try:
            holotype.registry.get_model_info("src.model/n1")
        except holotype.HolotypeError as error:
            result = [str(error), holotype.registry.list_models(zoo="src.model")]
    """
    message, names = zoo.run(code)
    assert "the index keeps of 'n1' cannot be read" in message and "Delete the index" in message
    assert names == ["n1"]


def test_a_cache_that_is_damaged_under_a_running_process(zoo):
    code = """
    import os, pathlib, holotype
    from holotype.catalog.index import SCHEMA
    folder = pathlib.Path(os.environ["HOLOTYPE_HOME"], f"index-{SCHEMA}")
    file = pathlib.Path("src/model/v1.py")
    result = []
    damages = [lambda path: None, pathlib.Path.unlink, lambda path: path.write_bytes(b"x" * 5000), lambda path: path.write_bytes(b"")]
    for at, damage in enumerate(damages):
        for path in folder.iterdir() if at else ():
            damage(path)
        file.write_text(file.read_text().replace('"n', f'"n{at}', 1))
        result.append(holotype.list_models(zoo="src.model"))
    """
    assert zoo.run(code) == [["n01"], ["n101"], ["n2101"], ["n32101"]]


def below_a_file(project, tmp_path):
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "home"


def a_file_in_its_place(project, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / CACHE).write_text("")
    return tmp_path / "there"


def a_dangling_link(project, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "at" / "all")
    return tmp_path / "link"


def a_device(project, tmp_path):
    return "/dev/null"


def not_writable(project, tmp_path):
    return "/proc/self"


def very_long(project, tmp_path):
    return tmp_path / ("x" * 300)


@pytest.mark.parametrize(
    "place", [below_a_file, a_file_in_its_place, a_dangling_link, a_device, not_writable, very_long]
)
def test_a_place_where_nothing_can_be_kept(zoo, tmp_path, place):
    home = place(zoo, tmp_path)
    for _ in range(2):
        found = zoo.run(LOOK, HOLOTYPE_HOME=str(home))
        assert found[:4] == RIGHT
        assert found[4] is not None  # it is said that nothing is kept
    code = """
    import pathlib, holotype
    before = holotype.list_models(zoo="src.model")
    pathlib.Path("src/model/v3.py").write_text(pathlib.Path("src/model/v1.py").read_text().replace("n1", "v3"))
    result = [before, holotype.list_models(zoo="src.model")]
    """
    assert zoo.run(code, HOLOTYPE_HOME=str(home)) == [["n1"], ["n1", "v3"]]


def test_a_home_that_begins_with_a_tilde_or_is_empty(zoo, tmp_path):
    assert zoo.run(LOOK, HOLOTYPE_HOME="~/cache", HOME=str(tmp_path)) == [*RIGHT, None]
    assert (tmp_path / "cache" / CACHE).is_dir()
    assert zoo.run(LOOK, HOLOTYPE_HOME="", HOME=str(tmp_path), XDG_CACHE_HOME="") == [*RIGHT, None]
    assert (tmp_path / ".cache" / "holotype" / CACHE).is_dir()


@pytest.mark.parametrize("limit", [0, 1, 4096, 20_000])
@pytest.mark.parametrize("warm", [False, True])
def test_a_full_disk(zoo, limit, warm):
    if warm:
        zoo.run(LOOK)
        zoo.write({"src/model/v7.py": V1.format("v7")})
    code = f"""
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
    """ + LOOK.replace("\n", "\n    ")
    names = ["n1", "v7"] if warm else ["n1"]
    found = zoo.run(code)
    assert found[0] == names
    assert found[1:4] == RIGHT[1:]
    # Space again: a cache again.
    assert zoo.run(LOOK) == [names, *RIGHT[1:], None]


@pytest.mark.parametrize("count", [2, 8])
def test_processes_that_index_at_once(zoo, count):
    zoo.write({f"src/model/m{n}.py": V1.format(f"m{n}") for n in range(60)})
    code = """
    import holotype
    r = holotype.registry
    result = [len(r.list_models(zoo="src.model")), len(r.list_problems()), r.cache_problem]
    """
    running = [zoo.start(code) for _ in range(count)]
    assert [zoo.finish(process) for process in running] == [[61, 0, None]] * count


def test_processes_that_index_while_files_change(zoo):
    code = """
    import pathlib, holotype, os
    mine = os.environ["MINE"]
    result = []
    for at in range(15):
        path = pathlib.Path(f"src/model/{mine}_{at}.py")
        path.write_text(pathlib.Path("src/model/v1.py").read_text().replace("n1", f"{mine}_{at}"))
        result.append(holotype.exists(f"{mine}_{at}") and f"{mine}_{at}" in holotype.list_models(zoo="src.model"))
        if at % 2:
            path.unlink()
            result.append(f"{mine}_{at}" not in holotype.list_models(zoo="src.model"))
    result = all(result)
    """
    running = [zoo.start(code, MINE=f"p{n}") for n in range(3)]
    assert [zoo.finish(process) for process in running] == [True] * 3
    names = zoo.run("import holotype\nresult = holotype.list_models(zoo='src.model')")
    assert names == ["n1", *(f"p{n}_{at}" for n in range(3) for at in range(0, 15, 2))]


def test_a_process_that_is_killed_while_it_writes_leaves_no_lie(zoo):
    files = {f"src/model/m{n}.py": V1.format(f"m{n}") for n in range(150)}
    zoo.write(files)
    for delay in (0.06, 0.09, 0.12, 0.16):
        process = zoo.start("import holotype\nholotype.list_models()")
        try:
            process.wait(delay)
        except Exception:
            process.kill()
        process.communicate()
        found = zoo.run(
            "import holotype\nresult = [len(holotype.list_models(zoo='src.model')), holotype.registry.cache_problem]"
        )
        assert found == [151, None]
        shutil.rmtree(zoo.home / CACHE)


def test_a_forked_child_looks_for_itself(zoo):
    code = """
    import os, pathlib, holotype
    holotype.list_models()
    read, write = os.pipe()
    if os.fork() == 0:
        pathlib.Path("src/model/v3.py").write_text(pathlib.Path("src/model/v1.py").read_text().replace("n1", "v3"))
        os.write(write, " ".join(holotype.list_models(zoo="src.model")).encode())
        os._exit(0)
    os.wait()
    result = [os.read(read, 1000).decode().split(), holotype.list_models(zoo="src.model")]
    """
    assert zoo.run(code) == [["n1", "v3"], ["n1", "v3"]]


def test_another_python_reads_other_syntax(zoo):
    """What one interpreter could not read or import, another one, sharing the cache, looks at for itself."""
    zoo.write({"src/model/v9.py": V1.format("v9") + "def (\n"})
    look = "import holotype\nresult = holotype.list_models(zoo='src.model')"
    assert zoo.run(look) == ["n1"]
    pretend = """
    import sys, ast
    sys.version_info = type("V", (tuple,), {"major": 9, "minor": 0})((9, 0, 0, "final", 0))
    real = ast.parse
    ast.parse = lambda source, *args, **more: real(source.replace(b"def (", b""), *args, **more)
    import holotype
    result = holotype.list_models(zoo='src.model')
    """
    assert zoo.run(pretend) == ["n1", "v9"]
    assert zoo.run(look) == ["n1"]


def test_the_cache_forgets_projects_that_are_gone(zoo, other_project):
    other_project.write({"src/model/__init__.py": "", "src/model/v1.py": V1.format("gone")})
    zoo.run(LOOK)
    other_project.run("import holotype\nresult = holotype.list_models()")

    before = len(kept(zoo))
    shutil.rmtree(other_project.root)
    abandoned = zoo.home / CACHE / ".left-by-a-killed-process"
    abandoned.write_bytes(b"half")
    os.utime(abandoned, (0, 0))
    zoo.write({"src/model/v4.py": V1.format("v4")})
    zoo.run(LOOK)
    assert len(kept(zoo)) < before
    assert not abandoned.exists()
