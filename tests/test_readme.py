"""README's lists are those of the code. `python tests/test_readme.py` writes them anew."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

def systems() -> str:
    """The table of the 47 systems in Markdown, built ones first."""
    from mimgen.papers import PLANNED, built

    rows = ["| system | paper | state | measured |", "|---|---|---|---|"]
    for paper in (*built(), *PLANNED):
        position = f"configs/{paper.config}.py" if paper.config else paper.command
        state = f"`{position}`" if position else "planned"
        rows.append(f"| {paper.slug} | {paper.title} | {state} | {paper.result or '-'} |")
    return "\n".join(rows)


def between(text: str, name: str) -> re.Match[str]:
    match = re.search(rf"(<!-- {name} -->\n)(.*?)(\n<!-- end {name} -->)", text, re.DOTALL)
    assert match is not None, f"README has no part between <!-- {name} --> and <!-- end {name} -->"
    return match


def test_systems_are_listed_as_they_are() -> None:
    assert between(README.read_text(encoding="utf-8"), "systems")[2].strip() == systems()


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    for name, content in (("systems", systems()),):
        found = between(text, name)
        text = text[: found.start(2)] + "\n" + content + "\n" + text[found.end(2) :]
    README.write_text(text, encoding="utf-8")
