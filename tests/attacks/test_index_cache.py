"""The cache is derived: whatever happens to it costs time and nothing else."""

import os
import sqlite3

import pytest

from holotype.catalog.snapshot import SCHEMA

CACHE = f"index-{SCHEMA}.sqlite"
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


def database(project):
    return project.home / CACHE


def truncated(path, size):
    path.write_bytes(path.read_bytes()[:size])


def scribbled(path):
    content = bytearray(path.read_bytes())
    for at in range(4096, len(content), 512):
        content[at : at + 64] = b"\xde\xad\xbe\xef" * 16
    path.write_bytes(content)


def other_schema(path, version):
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {version}")
    db.close()


def execute(path, statement):
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()


DAMAGE = {
    "deleted": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated to 100 bytes": lambda path: truncated(path, 100),
    "truncated to a page": lambda path: truncated(path, 4096),
    "truncated to a half": lambda path: truncated(path, path.stat().st_size // 2),
    "garbage": lambda path: path.write_bytes(os.urandom(10_000)),
    "text": lambda path: path.write_text("hello\n" * 1000),
    "scribbled over": scribbled,
    "of an older layout": lambda path: other_schema(path, 1),
    "of a newer layout": lambda path: other_schema(path, 999),
    "of the right layout without tables": lambda path: [
        execute(path, f"DROP TABLE {table}") for table in ("zoos", "files", "entries", "problems", "counts")
    ],
    "without one table": lambda path: execute(path, "DROP TABLE entries"),
    "with another column": lambda path: execute(path, "ALTER TABLE entries RENAME COLUMN detail TO other"),
    "with facts that are no JSON": lambda path: execute(path, "UPDATE files SET facts = '{', stat = ''"),
    "with entries that are no JSON": lambda path: execute(path, "UPDATE entries SET detail = '{'"),
    "with entries lost": lambda path: execute(path, "DELETE FROM entries"),
    "a leftover journal": lambda path: path.with_name(path.name + "-journal").write_bytes(
        b"\xd9\xd5\x05\xf9" * 300
    ),
}


@pytest.mark.parametrize("damage", [d for d in DAMAGE if "no JSON" not in d and "lost" not in d])
def test_a_damaged_cache_is_made_anew(zoo, damage):
    assert zoo.run(LOOK) == [*RIGHT, None]
    DAMAGE[damage](database(zoo))
    assert zoo.run(LOOK)[:4] == RIGHT
    assert zoo.run(LOOK) == [*RIGHT, None]  # and it is a cache again


def test_a_cache_that_is_damaged_under_a_running_process(zoo):
    code = """
    import os, pathlib, holotype
    from holotype.catalog.snapshot import SCHEMA
    path = pathlib.Path(os.environ["HOLOTYPE_HOME"], f"index-{SCHEMA}.sqlite")
    file = pathlib.Path("src/model/v1.py")
    result = []
    for at, damage in enumerate([lambda: None, path.unlink, lambda: path.write_bytes(b"x" * 5000), lambda: path.write_bytes(b"")]):
        damage()
        file.write_text(file.read_text().replace('"n', f'"n{at}', 1))
        result.append(holotype.list_models(zoo="src.model"))
    """
    assert zoo.run(code) == [["n01"], ["n101"], ["n2101"], ["n32101"]]


def below_a_file(project, tmp_path):
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "home"


def a_folder_in_its_place(project, tmp_path):
    (tmp_path / "there" / CACHE).mkdir(parents=True)
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
    "place", [below_a_file, a_folder_in_its_place, a_dangling_link, a_device, not_writable, very_long]
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
    assert (tmp_path / "cache" / CACHE).is_file()
    assert zoo.run(LOOK, HOLOTYPE_HOME="", HOME=str(tmp_path), XDG_CACHE_HOME="") == [*RIGHT, None]
    assert (tmp_path / ".cache" / "holotype" / CACHE).is_file()


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


def test_a_database_that_another_process_has_locked(zoo):
    zoo.run(LOOK)
    zoo.write({"src/model/v3.py": V1.format("v3")})
    db = sqlite3.connect(database(zoo), isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    try:
        running = zoo.start(LOOK)
        found = zoo.finish(running)
        assert found[0] == ["n1", "v3"]
    finally:
        db.execute("ROLLBACK")
        db.close()


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
        database(zoo).unlink()


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

    def zoos():
        with sqlite3.connect(database(zoo)) as db:
            found = db.execute("SELECT count(*) FROM zoos").fetchone()[0]
        db.close()
        return found

    before = zoos()
    __import__("shutil").rmtree(other_project.root)
    zoo.write({"src/model/v4.py": V1.format("v4")})
    zoo.run(LOOK)
    assert zoos() == before - 1
