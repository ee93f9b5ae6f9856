"""Rebuild frames from their neighbours and ground-truth flow, with grid generator and sampler alone."""

from __future__ import annotations

import argparse

import numpy as np

from stvae_ros.cli.tables import Table, add_format_option, show
from stvae_ros.data.flow_files import flow_pairs
from stvae_ros.evaluation.paper.warping import GROUPS, warping_errors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("folder", help="image pairs with .flo files, in the layout of Middlebury or FlyingChairs")
    add_format_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print a table. Raises MediaError for pairs that cannot be read."""
    title = "mean absolute error per pixel (squared error), colours in [0, 1]; share of the pixels"
    pairs = {name: warping_errors(a, b, flow) for name, a, b, flow in flow_pairs(arguments.folder)}
    lines = [[name, *(_cell(*errors[group]) for group in GROUPS)] for name, errors in pairs.items()]
    means = (np.nanmean([errors[group] for errors in pairs.values()], axis=0) for group in GROUPS)
    lines.append(["mean of pairs", *(_cell(*mean) for mean in means)])
    show([Table(title, ("pair", *GROUPS), lines)], arguments.format)
    return 0


def _cell(share: float, absolute: float, squared: float) -> str:
    return f"{absolute:.4f} ({squared:.4f}) {share:4.0%}" if share else "-"
