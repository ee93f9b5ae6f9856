from pathlib import Path

from setuptools import find_packages, setup

package = "stvae_ros"


def shared(folder: str, pattern: str) -> tuple[str, list[str]]:
    """Files of a folder for share/stvae_ros, as data_files takes them."""
    return f"share/{package}/{folder}", sorted(str(path) for path in Path(folder).glob(pattern) if path.is_file())


setup(
    name=package,
    version="0.1.0",
    packages=find_packages(include=[package, f"{package}.*"]),
    package_data={package: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package}"]),
        (f"share/{package}", ["package.xml"]),
        shared("launch", "*.launch.py"),
        shared("config", "*"),
        shared("config/train", "*.yaml"),
        shared("config/paper", "*.yaml"),
        shared("models", "*"),
    ],
    python_requires=">=3.10",
    # The headless build of opencv-python: the other needs libGL, which a robot or a server may lack.
    install_requires=["setuptools", "numpy", "torch", "safetensors", "opencv-python-headless", "PyYAML", "rich"],
    extras_require={
        "ros": ["ros-jazzy-rclpy[fastrtps]", "ros-jazzy-common-interfaces", "rosbags-image", "psutil"],
        "train": ["lightning", "torchmetrics", "tensorboard", "jsonargparse[signatures]", "scikit-learn"],
        "eval": ["matplotlib", "torchmetrics"],
        "dev": ["ruff", "mypy", "types-PyYAML", "types-psutil"],
        "test": ["pytest", "pytest-timeout"],
    },
    zip_safe=True,
    author="The stvae_ros developers",
    maintainer="The stvae_ros developers",
    maintainer_email="maintainers@stvae-ros.example.org",
    description="Motion memory for robot cameras: next frame, dense flow and change images from a ConvLSTM.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "stvae = stvae_ros.cli.main:main",
            "perception_node = stvae_ros.nodes.perception_node:main",
            "video_publisher = stvae_ros.nodes.video_publisher:main",
            "demo_recorder = stvae_ros.nodes.demo_recorder:main",
        ],
    },
)
