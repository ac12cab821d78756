"""The house's rules, read from the syntax trees: floors, circles, walls, sizes, annotations."""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.module_graph import ROOT, ModuleGraph, circles

SOURCES = sorted((ROOT / "mimgen").rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").rglob("*.py"))
APPS = sorted((ROOT / "apps").rglob("*.py"))

FLOORS = {
    "types": 0, "errors": 0, "files": 0, "bundled": 0, "configs": 0, "papers": 0, "ops": 0,
    "pretrained": 1, "checkpoints": 2,
    "layers": 3, "masking": 3, "sampling": 3, "data": 3, "training": 4,
    "encoders": 5, "decoders": 6,
    "tokenizers": 7,
    "targets": 8,
    "methods": 9, "generators": 9,
    "pipelines": 10, "probing": 11, "evaluation": 12, "analysis": 12,
    "report": 13,
    "recipes": 14,
    "cli": 15,
}  # fmt: skip

# Third parties and the only positions that may import them; "recipes" means mimgen/recipes.py.
WALLS = {
    "gradio": ("apps",),
    "accelerate": ("training", "probing", "evaluation", "cli"),
    "torch_fidelity": ("evaluation/generation",),
    "xformers": ("layers/attention.py",),
    "peft": ("training/lora.py",),
    "vector_quantize_pytorch": ("tokenizers/quantizers",),
    "tyro": ("cli",),
    "webdataset": ("data",),
    "datasets": ("data",),
    "skimage": ("ops", "evaluation", "data"),
    "sklearn": ("probing", "evaluation", "analysis"),
}


# Files whose imports still go up; each leaves this list when its logic has found its floor.
PENDING = {
}  # fmt: skip


# Floors on which everybody builds: what a single paper uses does not lie there but with the paper.
SHARED = ("ops", "layers", "masking", "sampling", "data", "encoders", "decoders", "targets")
# Parts whose second user is on its way.
ONE_USER = {
    "mimgen.layers.kv_cache": "autoregressive generators append to the cache",
    "mimgen.layers.rope": "autoregressive generators rotate their queries, too",
    "mimgen.decoders.pyramid": "moves to its method together with the method's other parts",
    "mimgen.encoders.resnet": "moves to its method together with the method's other parts",
    "mimgen.encoders.swin_v2": "moves to its method together with the method's other parts",
    "mimgen.targets.features": "moves to its method together with the method's other parts",
}
LARGE_FOLDERS = {"tests/parity/replays"}  # one replay for each system
# Size tables and constructors that are still rows of bare numbers.
BARE_NUMBERS = (
    "configs/tokenizer/", "configs/generate/", "configs/pretrain/dmjd.py", "mimgen/generators/titok_maskgit/",
    "mimgen/tokenizers/vqkd/", "mimgen/methods/localmim/", "mimgen/methods/hpm/", "mimgen/methods/beitv2",
    "mimgen/encoders/swin",
)  # fmt: skip
LISTS = ("nn.Sequential", "KeyMap")  # take a list of like things, not of settings
GRAPH = ModuleGraph(ROOT / "mimgen")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full module name of every import, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            module = node.module or ""
            yield node.lineno, module
            if module == "mimgen":
                yield from ((node.lineno, f"mimgen.{alias.name}") for alias in node.names)


def package_of(path: Path) -> str:
    """First part below mimgen/: "masking", "types", or "" for mimgen/__init__.py."""
    part = path.relative_to(ROOT / "mimgen").parts[0]
    return "" if part == "__init__.py" else part.removesuffix(".py")


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def upward(package: str, module: str) -> bool:
    """Whether `package` may not import `module`: an upper floor, or a sibling on its own.

    Everybody may raise the errors of `mimgen.errors`.
    """
    parts = module.split(".")
    if parts[0] != "mimgen" or len(parts) < 2 or parts[1] not in FLOORS or parts[1] in (package, "errors"):
        return False
    if package == "":  # mimgen/__init__.py: `load_pretrained`, when it is asked for
        return parts[1] != "pretrained"
    return FLOORS[parts[1]] >= FLOORS[package]


def test_the_rule_itself_can_fail() -> None:
    assert upward("masking", "mimgen.generators.meissonic.objective")
    assert upward("masking", "mimgen.sampling")
    assert not upward("masking", "mimgen.masking.rate")
    assert not upward("methods", "mimgen.masking")


def test_every_package_has_a_floor() -> None:
    assert {package_of(path) for path in SOURCES} - {""} <= set(FLOORS)


def test_imports_go_down() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in SOURCES
        if path.relative_to(ROOT).as_posix() not in PENDING
        for line, module in imports(path)
        if upward(package_of(path), module)
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_in_a_circle() -> None:
    found = circles(GRAPH.edges())
    assert not found, "\n".join(" and ".join(component) for component in found)


def test_a_part_with_one_user_lives_with_its_user() -> None:
    users = GRAPH.users()
    lonely = {
        module: next(iter(systems))
        for module in users
        if module.split(".")[1:2] and module.split(".")[1] in SHARED and module not in GRAPH.packages
        if len(systems := {_system(user) for user in users[module]}) == 1 and None not in systems
    }
    wrong = {module: user for module, user in lonely.items() if module not in ONE_USER}
    assert not wrong, f"these parts have one user and should lie with it: {wrong}"
    found_a_second = set(ONE_USER) - set(lonely)
    assert not found_a_second, f"no exceptions any more, take them off the list: {found_a_second}"


def _system(module: str) -> str | None:
    """ "methods.hpm" for a module of that system, None for what belongs to none."""
    parts = module.split(".")[1:3]
    return ".".join(parts) if parts[0] in ("methods", "generators", "tokenizers") else None


def test_the_graph_sees_circles_and_users(tmp_path: Path) -> None:
    files = {
        "p/__init__.py": "from p.a import A\n",
        "p/a.py": "def f():\n    from p.b import B\n",
        "p/b.py": "from p import c\n",
        "p/c.py": "from p.a import A\n",
        "p/d.py": "",
        "p/q/__init__.py": "from p.d import D as E\n",
        "p/q/x.py": "from p import A\nfrom p.d import D\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    graph = ModuleGraph(tmp_path / "p")
    assert circles(graph.edges()) == [["p.a", "p.b", "p.c"]]
    users = graph.users()
    assert users["p.a"] == {"p.c", "p.q.x"} and users["p.d"] == {"p.q.x"} and users["p.c"] == {"p.b"}


def test_folders_stay_small() -> None:
    found = {}
    for top in ("mimgen", "configs", "apps", "tests"):
        for folder in {path.parent for path in (ROOT / top).rglob("*.py")}:
            count = sum(path.name != "__init__.py" for path in folder.glob("*.py"))
            found[folder.relative_to(ROOT).as_posix()] = count
    wrong = {folder: count for folder, count in found.items() if count > 25 and folder not in LARGE_FOLDERS}
    assert not wrong, "more than 25 files in a folder"


def test_long_calls_name_their_arguments() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node.func)}({len(node.args)} positional arguments)"
        for path in SOURCES + CONFIGS + APPS
        if not path.relative_to(ROOT).as_posix().startswith(BARE_NUMBERS)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and sum(not isinstance(each, ast.Starred) for each in node.args) >= 8
        and ast.unparse(node.func) not in LISTS
    ]
    assert not wrong, "\n".join(wrong)


def test_configs_and_apps_import_public_names_only() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in CONFIGS + APPS
        for line, module in imports(path)
        if module.startswith(("configs", "mimgen_configs")) or "._" in module
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("library", sorted(WALLS))
def test_third_parties_stay_behind_their_wall(library: str) -> None:
    wrong = []
    for path in SOURCES + CONFIGS + APPS:
        position = path.relative_to(ROOT).as_posix().removeprefix("mimgen/")
        inside = any(position == wall or position.startswith(f"{wall}/") for wall in WALLS[library])
        wrong += [
            f"{position}:{line}" for line, module in imports(path) if module.split(".")[0] == library and not inside
        ]
    assert not wrong, f"{library} is imported in {', '.join(wrong)}"


def test_files_hold_one_noun() -> None:
    sizes = {path: len(path.read_text("utf-8").splitlines()) for path in SOURCES + CONFIGS + APPS}
    assert not {str(path.relative_to(ROOT)): lines for path, lines in sizes.items() if lines > 300}


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring, which may say as much as it has to."""
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1 - len((ast.get_docstring(node) or "").splitlines())


def test_functions_are_short() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": lines_of(node)
        for path in SOURCES + CONFIGS + APPS
        for node in functions(path)
        if lines_of(node) > 80
    }
    assert not long


def test_every_argument_is_annotated() -> None:
    bare = []
    for path in SOURCES + CONFIGS + APPS:
        for node in functions(path):
            named = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            rest = [argument for argument in (node.args.vararg, node.args.kwarg) if argument is not None]
            bare += [
                f"{path.relative_to(ROOT)}:{node.lineno} {node.name}({argument.arg})"
                for argument in named + rest
                if argument.annotation is None and argument.arg not in ("self", "cls")
            ]
    assert not bare, "\n".join(bare)


def test_public_names_are_documented() -> None:
    silent = []
    for path in SOURCES + CONFIGS:
        tree = ast.parse(path.read_text("utf-8"))
        assert ast.get_docstring(tree), f"{path.relative_to(ROOT)} says nothing about itself"
        silent += [
            f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and ast.get_docstring(node) is None
        ]
    assert not silent, "\n".join(silent)


def test_only_commands_talk_to_the_terminal() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if package_of(path) != "cli" and path.relative_to(ROOT).as_posix() not in PENDING
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not wrong, ", ".join(wrong)


def test_packages_declare_their_names() -> None:
    for folder in sorted(path.parent for path in SOURCES if path.name == "__init__.py"):
        tree = ast.parse((folder / "__init__.py").read_text("utf-8"))
        plain = itertools.chain.from_iterable(n.targets for n in tree.body if isinstance(n, ast.Assign))
        typed = (n.target for n in tree.body if isinstance(n, ast.AnnAssign))
        names = {target.id for target in (*plain, *typed) if isinstance(target, ast.Name)}
        assert "__all__" in names, f"{folder.relative_to(ROOT)}/__init__.py has no __all__"


@pytest.mark.parametrize("module", ["mimgen", "mimgen.cli.main", "mimgen.cli.options"])
def test_light_modules_import_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'diffusers', 'numpy', 'PIL'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
