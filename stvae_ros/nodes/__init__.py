"""ROS 2 nodes. Only this folder knows ROS."""

import os
import sys
from pathlib import Path

# The ROS wheels of PyPI put their ament index into the prefix of the virtual environment; in a sourced ROS
# installation AMENT_PREFIX_PATH is set already. It has to be there before rclpy loads the middleware.
if (Path(sys.prefix) / "share" / "ament_index").is_dir():
    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
