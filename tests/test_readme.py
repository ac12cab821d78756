"""README's lists are those of the code. `python tests/test_readme.py` writes them anew."""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

FLOORS = {
    "mimgen": "",
    "ops": "0",
    "layers": "1",
    "masking": "1",
    "sampling": "1",
    "data": "1",
    "training": "1",
    "encoders": "2",
    "tokenizers": "3",
    "targets": "4",
    "objectives": "5",
    "generators": "5",
    "pipelines": "6",
    "probing": "6",
    "evaluation": "6",
    "convert": "6",
    "recipes": "7",
    "commands": "8",
    "configs": "",
}


def sentence(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=\.)\s", " ".join(text.split("\n\n")[0].split()))[0].rstrip(".;:")


def folders() -> str:
    """One line a file, grouped by folder, lowest floor first; files of sub-packages follow with their folder's name."""
    lines = []
    for name, floor in FLOORS.items():
        root = ROOT / name if name in ("mimgen", "configs") else ROOT / "mimgen" / name
        # the package without its folders, which have headings of their own; a folder with those inside it
        found = root.glob("*.py") if name == "mimgen" else root.rglob("*.py")
        files = sorted((path for path in found if path.name != "__init__.py"), key=lambda path: (len(path.parts), path))
        lines.append(f"**{root.relative_to(ROOT)}/**" + (f" (floor {floor})" if floor else "") + "\n")
        lines += [f"- `{path.relative_to(root)}`: {sentence(path)}" for path in files]
        lines.append("")
    return "\n".join(lines).strip()


def systems() -> str:
    """The table of the 47 systems in Markdown, built ones first."""
    from mimgen.commands.systems import SYSTEMS

    rows = ["| system | paper | state | measured |", "|---|---|---|---|"]
    for system in sorted(SYSTEMS, key=lambda system: not system.built):
        place = f"configs/{system.config}.py" if system.config else system.command
        state = f"`{place}`" if place else "planned"
        rows.append(f"| {system.slug} | {system.title} | {state} | {system.result or '-'} |")
    return "\n".join(rows)


def between(text: str, name: str) -> re.Match[str]:
    match = re.search(rf"(<!-- {name} -->\n)(.*?)(\n<!-- end {name} -->)", text, re.DOTALL)
    assert match is not None, f"README has no part between <!-- {name} --> and <!-- end {name} -->"
    return match


def test_folders_are_described_as_they_are() -> None:
    assert between(README.read_text(encoding="utf-8"), "folders")[2].strip() == folders()


def test_systems_are_listed_as_they_are() -> None:
    assert between(README.read_text(encoding="utf-8"), "systems")[2].strip() == systems()


def test_every_sentence_is_there() -> None:
    assert not re.findall(r"^- `[^`]+`: *$", folders(), re.MULTILINE)


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    for name, content in (("folders", folders()), ("systems", systems())):
        found = between(text, name)
        text = text[: found.start(2)] + "\n" + content + "\n" + text[found.end(2) :]
    README.write_text(text, encoding="utf-8")
