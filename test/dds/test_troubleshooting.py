"""Messages that docs/troubleshooting.md quotes are those of the code, and one of them is seen."""

import ast
import re
from collections.abc import Iterator

import pytest
from checkout import ROOT
from diagnostic_msgs.msg import DiagnosticStatus
from robot import Robot

QUOTED = re.findall(r"^> (.+)$", (ROOT / "docs" / "troubleshooting.md").read_text(), re.M)


def templates() -> Iterator[re.Pattern[str]]:
    """Patterns of the texts in the code that are long enough to be a message; what is filled in matches anything."""
    for path in (ROOT / "stvae_ros").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts = [part.value if isinstance(part, ast.Constant) else None for part in parts]
            if all(text is None or isinstance(text, str) for text in texts):
                letters = sum(len(re.findall("[a-z]", text)) for text in texts if text)
                if letters >= 18:
                    yield re.compile("".join(".+" if text is None else re.escape(text) for text in texts), re.S)


@pytest.fixture(scope="module")
def known() -> list[re.Pattern[str]]:
    return list(templates())


@pytest.mark.parametrize("quoted", QUOTED)
def test_quoted_messages_are_in_the_code(quoted: str, known: list[re.Pattern[str]]) -> None:
    message = re.sub(r"^(/image: |configure failed: )", "", quoted)
    assert any(pattern.fullmatch(message) for pattern in known), f"no such message in the code: {quoted}"


def test_there_is_enough_to_check(known: list[re.Pattern[str]]) -> None:
    assert len(QUOTED) >= 12
    assert not any(pattern.fullmatch("nobody publishes /image: start the camera") for pattern in known)


def test_simulated_time_without_a_clock_is_named() -> None:
    with Robot() as robot:
        robot.start("perception_node", autostart=False, use_sim_time=True)
        status = robot.wait_for(lambda: robot.process()[0], 60)
        assert status.level == DiagnosticStatus.WARN and status.message in QUOTED
        assert status.message.startswith("use_sim_time is true")
