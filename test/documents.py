"""What the documentation says: its pages, the commands in them, and its blocks of Python."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ("stvae", "ros2", "make", "pip", "torchrun")


class Command(NamedTuple):
    """A command of a page, as it is typed; ``block`` where it stands on a line of its own, not within a sentence."""

    page: str
    text: str
    block: bool

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def pages() -> list[Path]:
    """README, CONTRIBUTING and the like, docs/ and the cards of weights."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("models/*.md")])


def split(text: str) -> tuple[list[str], str]:
    """Blocks of a page, indented by four or fenced, and what is left. An indented line within a list is text."""
    blocks: list[list[str]] = [[]]
    rest = []
    fenced = False
    previous = ""
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
            blocks.append([])
        elif fenced or (line.startswith("    ") and (not previous.strip() or blocks[-1])):
            blocks[-1].append(line if fenced else line[4:])
        elif line.strip() or not blocks[-1]:
            rest.append(line)
            if blocks[-1]:
                blocks.append([])
        previous = line
    return ["\n".join(block) for block in blocks if block], "\n".join(rest)


def commands() -> Iterator[Command]:
    """All commands of `PROGRAMS`, in blocks and in inline code."""
    for page in pages():
        blocks, rest = split(page.read_text())
        name = str(page.relative_to(ROOT))
        for block in blocks:
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                for part in re.split(r" && | \| ", re.sub(r"(^|\s+)#\s.*", "", line).removeprefix("$ ")):
                    if part.split(" ")[0] in PROGRAMS:
                        yield Command(name, part.strip(), True)
        for part in re.findall(r"`([^`]+)`", rest):
            text = " ".join(part.split()).split(" | ")[0]
            if text.split(" ")[0] in PROGRAMS and " " in text:
                yield Command(name, text, False)


def python_blocks() -> Iterator[tuple[str, str]]:
    """Page and text of each block that imports from this project."""
    for page in pages():
        for block in split(page.read_text())[0]:
            if re.match(r"(from|import) stvae_ros", block):
                yield page.name, block


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", split(page.read_text())[1], re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
