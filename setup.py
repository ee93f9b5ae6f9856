import xml.etree.ElementTree as ET
from pathlib import Path

from setuptools import find_packages, setup

# `colcon build --symlink-install` runs this file from build/, where it is a link. The metadata must be written there,
# because build/ is on the path and the sources are not: so do not change the folder.
SOURCE = Path(__file__).resolve().parent

about = ET.parse(SOURCE / "package.xml").getroot()  # The only place of name, version and description.
package = about.findtext("name", "")


def shared(folder: str, pattern: str) -> tuple[str, list[str]]:
    """Files of a folder for share/stvae_ros, in the form of data_files."""
    files = (path.relative_to(SOURCE) for path in (SOURCE / folder).glob(pattern) if path.is_file())
    return f"share/{package}/{folder}", sorted(map(str, files))


setup(
    name=package,
    version=about.findtext("version"),
    packages=find_packages(str(SOURCE), include=[package, f"{package}.*"]),
    package_data={package: ["py.typed", "evaluation/bags/*.jinja"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package}"]),
        (f"share/{package}", ["package.xml"]),
        shared("launch", "*.launch.py"),
        shared("config", "*"),
        shared("config/train", "*.yaml"),
        shared("config/sros2", "*.xml"),
        shared("config/paper", "*.yaml"),
        shared("models", "*"),
    ],
    python_requires=">=3.10",
    # The headless build of opencv-python does not need libGL, which a robot or a server may lack.
    install_requires=["setuptools", "numpy", "torch>=2.2", "safetensors", "opencv-python-headless", "PyYAML", "rich"],
    extras_require={
        "ros": ["ros-jazzy-rclpy[fastrtps]", "ros-jazzy-common-interfaces", "psutil", "simplejpeg"],
        "train": ["lightning", "torchmetrics", "tensorboard", "jsonargparse[signatures]", "scikit-learn"],
        "eval": ["matplotlib", "torchmetrics", "jinja2"],
        "bags": ["rosbags", "mcap", "zstandard"],
        "ray": ["ray"],
        "events": ["h5py", "aedat", "rosbags", "mcap", "zstandard"],
        "onnx": ["onnx", "onnxruntime"],
        "docs": ["sphinx", "myst-parser"],
        "dev": ["import-linter", "ruff", "mypy", "types-PyYAML", "types-psutil"],
        "test": ["pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "build"],
    },
    zip_safe=True,
    author=about.findtext("maintainer"),
    maintainer=about.findtext("maintainer"),
    maintainer_email=about.find("maintainer").get("email"),
    description=about.findtext("description"),
    long_description=(SOURCE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license=about.findtext("license"),
    classifiers=[
        "Environment :: GPU :: NVIDIA CUDA",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)),
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    entry_points={
        "console_scripts": [
            "stvae = stvae_ros.cli.main:main",
            "perception_node = stvae_ros.nodes.perception.node:main",
            "video_publisher = stvae_ros.nodes.tools.video_publisher:main",
            "demo_recorder = stvae_ros.nodes.tools.demo_recorder:main",
        ],
    },
)
