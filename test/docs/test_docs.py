"""Every command in the documentation exists, with options that exist; links and blocks of Python, too.

`test_docs_run.py` and `test_docs_ros2.py` run them; this checks all of them, with the values that stand on the page.

- `stvae ...`, also under torchrun: taken by the command's own parser, without running it; `stvae train` by Lightning's,
  which checks the options of the recipe as well.
- `ros2 launch`: the file, its arguments and, where they are parameters, their values. `ros2 run`: executable and
  parameters. `ros2 param`, `lifecycle`, `service`, `topic` for /perception: names and values of parameters,
  transitions, services and their fields, outputs. Options of ros2 itself are not checked: it is not on PyPI.
- `make`: targets and variables, and ARGS as options of the command behind the target.
- `pip install`: the extras.

`...` and names in capitals stand for something of the user's; [what is in brackets] is checked as if it were given.
"""

import ast
import re
import shlex
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from checkout import make
from documents import ROOT, Command, anchors, commands, pages, python_blocks

from stvae_ros.checkpoint import shipped_names
from stvae_ros.cli.main import _COMMANDS, main, make_parser
from stvae_ros.nodes.perception.parameters import PARAMETERS
from stvae_ros.streaming.outputs import OUTPUTS

MAKEFILE = (ROOT / "Makefile").read_text()
SPECS = {spec.name: spec for spec in PARAMETERS}
TRANSITIONS = {"configure", "activate", "deactivate", "cleanup", "shutdown"}
SERVICES = {"/perception/reset": "Trigger", "/perception/enable": "SetBool"}
VERBS = {
    "launch", "run", "param", "lifecycle", "service", "topic", "node", "bag", "pkg", "security", "daemon", "doctor",
}  # fmt: skip


class Wrong(Exception):
    """What is wrong with a command."""


def require(truth: object, problem: str) -> None:
    if not truth:
        raise Wrong(problem)


class _Parsed(Exception):
    """Ends `stvae train` once its parser is there."""


@pytest.fixture(scope="module")
def train() -> Callable[[list[str]], object]:
    """Takes the options of `stvae train`, recipe included, without starting anything."""
    module = pytest.importorskip("stvae_ros.cli.train")
    found = []

    def stop(cli: object) -> None:
        found.append(cli.parser)
        raise _Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._TrainingCLI, "before_instantiate_classes", stop)
        with pytest.raises(_Parsed):
            module.train(["--data.clips", "[]"])
    return lambda arguments: found[0].parse_args(["fit", *arguments])


def check_stvae(words: list[str], train: Callable[[list[str]], object]) -> None:
    words = [word.strip("[]") if word.startswith("[--") or word.endswith("...]") else word for word in words]
    if words in (["--help"], ["--version"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        require(ended.value.code == 0, "it fails")
        return
    if " ".join(words[:2]) in _COMMANDS:
        words = [" ".join(words[:2]), *words[2:]]
    require(words[0] in _COMMANDS, f"there is no command {words[0]!r}")
    if words[1:] in ([], ["..."]):  # It is only mentioned.
        return
    try:
        if words[0] != "train":
            parser = make_parser(words[0], import_module(f"stvae_ros.cli.{_COMMANDS[words[0]][2]}"))
            for subparser in parser._subparsers._group_actions[0].choices.values():
                subparser.allow_abbrev = False
            given = getattr(parser.parse_args(words), "model", None) or []
            names = {given} if isinstance(given, str) else set(given)
            unknown = {name for name in names if "/" not in name} - {*shipped_names(), "..."}
            require(not unknown, f"there are no weights called {unknown}")
        else:
            given = [word for word in words[1:] if word != "..."]
            train([re.sub(r"^[A-Z_]+\.yaml$", "config/train/stvae-rt-m.yaml", word) for word in given])
    except SystemExit as ended:
        require(ended.code == 0 and "--help" in words, "its parser refuses it: see stderr")


def check_value(name: str, text: str) -> None:
    if name == "use_sim_time":
        require(text in ("true", "false"), f"use_sim_time is true or false, not {text}")
        return
    require(name in SPECS, f"the node has no parameter {name}")
    spec = SPECS[name]
    value = yaml.safe_load(text) if not isinstance(spec.default, str) else text
    if isinstance(spec.default, list | tuple) and not isinstance(value, list):
        value = value.split(",") if isinstance(value, str) else [value]
    kind = list if isinstance(spec.default, tuple) else type(spec.default)
    require(isinstance(value, kind), f"{name}: {text} has a wrong type")
    require(spec.problem(value) is None, str(spec.problem(value)))


def literal_names(path: Path, *dictionaries: str) -> set[str]:
    """Keys of dictionaries that a file writes out."""
    tree = ast.parse(path.read_text())
    found = {node.targets[0].id: node.value for node in ast.walk(tree) if _is_dictionary(node)}
    return {key.value for name in dictionaries if name in found for key in found[name].keys if key is not None}


def _is_dictionary(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Dict)


def check_launch(words: list[str]) -> None:
    require(words[0] == "stvae_ros", "another package")
    path = ROOT / "launch" / words[1]
    require(path.is_file(), f"there is no {words[1]}")
    declared, parameters = literal_names(path, "arguments", "PARAMETERS"), literal_names(path, "PARAMETERS")
    for word in words[2:]:
        if word == "--show-args":
            continue
        name, given, value = word.partition(":=")
        require(given and name in declared, f"{words[1]} has no argument {name}")
        if name in parameters:
            # The launch file takes lists without brackets, too.
            is_list = name in SPECS and isinstance(SPECS[name].default, list)
            check_value(name, f"[{value.strip('[]')}]" if is_list else value)


def check_run(words: list[str]) -> None:
    scripts = re.findall(r'"(\w+) = stvae_ros', (ROOT / "setup.py").read_text())
    require(words[0] == "stvae_ros" and words[1] in scripts, f"there is no executable {words[1]}")
    source = ROOT / "stvae_ros" / "nodes" / f"{words[1]}.py"
    for word in words[2:]:
        name, given, value = word.partition(":=")
        if given and not name.startswith("__") and words[words.index(word) - 1] == "-p":
            if words[1] == "perception_node":
                check_value(name, value)
            else:
                known = literal_names(source, "_PARAMETERS") | set(re.findall(r'_declare\("(\w+)"', source.read_text()))
                require(name in known | {"use_sim_time"}, f"{words[1]} has no parameter {name}")


def check_ros2(words: list[str]) -> None:
    verb, rest = words[0], words[1:]  # A verb alone is only mentioned.
    require(verb in VERBS, f"ros2 has no {verb}")
    node = "/perception" in rest
    if verb == "launch" and rest:
        check_launch(rest)
    elif verb == "run" and rest:
        check_run(rest)
    elif verb == "param" and node and len(rest) > 2:
        check_value(rest[2], rest[3]) if rest[0] == "set" else require(rest[2] in {*SPECS, "use_sim_time"}, rest[2])
    elif verb == "lifecycle" and rest[:1] == ["set"] and len(rest) > 2:
        require(node and rest[2] in TRANSITIONS, f"there is no transition {rest[2:]}")
    elif verb == "service" and rest[:1] == ["call"]:
        require(SERVICES.get(rest[1]) == rest[2].split("/")[-1], f"the node has no service {rest[1:3]}")
        request = getattr(import_module("std_srvs.srv"), rest[2].split("/")[-1]).Request
        require(not rest[3:] or set(yaml.safe_load(rest[3])) <= set(request.get_fields_and_field_types()), rest[-1])
    elif verb == "topic":
        known = {output.name for output in OUTPUTS} | {"camera_info", "compressed", "detections", "detections_color"}
        for word in rest:
            if word.startswith("/perception/"):
                require(word.split("/")[-1] in known, f"the node publishes no {word}")


def check_make(words: list[str], train: Callable[[list[str]], object]) -> None:
    targets = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M).group(1).split())
    given = [word for word in words if "=" not in word]
    require(given and set(given) <= targets, f"there is no target {given}")
    for word in words:
        name, assigned, value = word.partition("=")
        if assigned:
            require(re.search(rf"^{name} \?=|\$\({name}\)", MAKEFILE, re.M), f"the Makefile has no variable {name}")
        if name == "ARGS" and given[0] in ("demo", "bench"):
            check_stvae([{"demo": "demo", "bench": "benchmark"}[given[0]], *shlex.split(value)], train)


def check_pip(words: list[str]) -> None:
    extras = set(re.findall(r'^        "(\w+)": \["', (ROOT / "setup.py").read_text(), re.M)) - {"console_scripts"}
    for word in words:
        wanted = re.fullmatch(r"(?:\.|stvae_ros|/\S+)\[([\w,]+)\]", word)
        require(not wanted or set(wanted.group(1).split(",")) <= extras, f"there is no such extra: {word}")


def check(command: Command, train: Callable[[list[str]], object]) -> None:
    """Raise Wrong unless the command could be run, given what belongs to the user."""
    program, *words = shlex.split(command.text)
    if program == "stvae":
        check_stvae(words, train)
    elif program == "torchrun":
        require("stvae_ros.cli.main" in words, "it runs another program")
        check_stvae(words[words.index("stvae_ros.cli.main") + 1 :], train)
    elif program == "ros2":
        check_ros2(words)
    elif program == "make":
        check_make(words, train)
    else:
        check_pip(words)


@pytest.mark.parametrize("page", sorted({command.page for command in commands()}))
def test_commands_are_right(
    page: str, train: Callable[[list[str]], object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    problems = []
    for command in commands():
        if command.page == page:
            try:
                check(command, train)
            except Wrong as wrong:
                problems.append(f"{command.text}: {wrong} {capsys.readouterr().err}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    "text",
    [
        "stvae demo --frame 3",
        "stvae demo --model stvae-rt-xl",
        "stvae evaluates bag BAG",
        "stvae train --config config/train/bags.yaml --data.bag a",
        "stvae train --config config/train/none.yaml",
        "ros2 launch stvae_ros perception.launch.py images:=/camera",
        "ros2 launch stvae_ros perception.launch.py queue:=some",
        "ros2 run stvae_ros perception_node --ros-args -p horizon:=9",
        "ros2 param set /perception modle x",
        "ros2 lifecycle set /perception start",
        "ros2 service call /perception/enable std_srvs/srv/SetBool '{value: true}'",
        "ros2 topic echo /perception/flows",
        "make tests",
        "make demo ARGS='--speed 3'",
        "pip install -e '.[nothing]'",
    ],
)
def test_wrong_commands_are_found(
    text: str, train: Callable[[list[str]], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(Wrong):
        check(Command("a page", text, True), train)


def test_commands_are_found() -> None:
    found = [command for command in commands() if command.block]
    for program in ("stvae", "ros2", "make", "pip", "torchrun"):
        assert any(command.text.startswith(f"{program} ") for command in found), program
    assert sum(command.text.startswith("stvae ") for command in found) > 15


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith("http"):
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(file), f"{page.name}: no heading {target}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    for page in ROOT.glob("docs/*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name


@pytest.mark.parametrize(("page", "block"), list(python_blocks()))
def test_python_in_the_documentation_imports_what_exists(page: str, block: str) -> None:
    for node in ast.parse(block).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert hasattr(import_module(node.module), alias.name), f"{page}: {node.module}.{alias.name}"


def test_pages_for_a_browser(tmp_path: Path) -> None:
    pytest.importorskip("myst_parser", reason="needs Sphinx: pip install '.[docs]'")
    result = make(tmp_path / "checkout", "make docs")
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "checkout" / "build" / "pages"
    made = {path.relative_to(folder).with_suffix(".md") for path in folder.rglob("*.html")}
    assert {page.relative_to(ROOT) for page in pages()} <= made
    assert "demo.webp" in (folder / "README.html").read_text()
