"""SIGINT and SIGTERM in every state of the node end it with exit code 0 and without a trace."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from robot import Robot, small_network

STEPS = {
    "unconfigured": (),
    "inactive": (Transition.TRANSITION_CONFIGURE,),
    "active": (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE),
    "finalized": (Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,),
}

# Importing takes seconds: one process does, and each node is a fork of it. It prints their process ids, then how they
# ended. That a node's own process ends with exit code 0 is checked wherever `Robot` stops one.
NURSERY = """
import json, os, sys
from stvae_ros.nodes.perception.node import main
children = {}
for log, arguments in json.loads(sys.argv[1]).items():
    children[log] = os.fork()
    if children[log] == 0:
        file = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 1), os.dup2(file, 2)
        sys.argv = ["perception_node", *arguments]
        try:
            main()  # It ends the process.
        finally:
            os._exit(1)  # A fork of a process with PyTorch crashes on Python's own way out.
print(json.dumps(children), flush=True)
print(json.dumps({log: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for log, child in children.items()}))
"""


def segments(process: int) -> set[Path]:
    """Shared memory of the middleware that a process has at hand."""
    found = re.findall(r"/dev/shm/fast(?:rtps|dds)_[0-9a-f]{16}\b", Path(f"/proc/{process}/maps").read_text())
    return {Path(name) for name in found}


def test_signals_in_every_state(tmp_path: Path) -> None:
    signals = {"sigint": signal.SIGINT, "sigterm": signal.SIGTERM}
    weights = small_network(tmp_path)
    # The warm-up of this network takes seconds at this size.
    options = {"configuring": {"model": "ae-convlstm-flow", "processing_size": "[1280, 960]"}}
    options |= {state: {"autostart": "false", "model": str(weights)} for state in STEPS}
    nodes = {
        str(tmp_path / f"{state}_{number}"): [
            *("--ros-args", "-r", f"__ns:=/{state}_{number}", "-p", "num_threads:=1"),
            *(argument for pair in values.items() for argument in ("-p", ":=".join(pair))),
        ]
        for state, values in options.items()
        for number in signals
    }
    with Robot() as robot:
        ours, theirs = segments(os.getpid()), set()
        nursery = subprocess.Popen(
            [sys.executable, "-c", NURSERY, json.dumps(nodes)],
            env={**os.environ, "ROS_DOMAIN_ID": str(robot.domain)},
            stdout=subprocess.PIPE,
            text=True,
        )
        robot.processes.append(nursery)
        assert nursery.stdout is not None
        children = json.loads(nursery.stdout.readline())
        for log, child in children.items():
            name = Path(log).name
            state, number = name.split("_")
            there = ("perception", f"/{name}")
            robot.wait_for(lambda there=there: there in robot.node.get_node_names_and_namespaces(), 60)
            for transition in STEPS.get(state, ()):
                step = Transition(id=transition)
                assert robot.call(ChangeState, f"/{name}/perception/change_state", transition=step).success
            theirs |= segments(child) - ours
            os.kill(child, signals[number])
        codes = json.loads(nursery.communicate(timeout=30)[0])
        assert theirs and not any(segment.exists() for segment in theirs), "shared memory is left behind"
    for log, code in codes.items():
        text = Path(log).read_text()
        assert code == 0 and not any(word in text for word in ("Traceback", "rror", "ERROR")), f"{code} {log}: {text}"
        assert ("waiting for images" in text) == ("/active" in log), f"{log}: {text}"
