"""Rebuild frames from their neighbours and ground-truth flow, by grid generator and sampler alone."""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console

from stvae_ros.cli.tables import figures_table
from stvae_ros.data.flow_files import flow_pairs
from stvae_ros.evaluation.paper.warping import GROUPS, warping_errors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("folder", help="image pairs with .flo files, as Middlebury and FlyingChairs store them")


def run(arguments: argparse.Namespace) -> int:
    """Print a table. Raises MediaError for pairs that cannot be read."""
    title = "mean absolute error per pixel (squared error), colours in [0, 1]; share of the pixels"
    table = figures_table(title, ("pair", *GROUPS))
    pairs = {name: warping_errors(a, b, flow) for name, a, b, flow in flow_pairs(arguments.folder)}
    for name, errors in pairs.items():
        table.add_row(name, *(_cell(*errors[group]) for group in GROUPS))
    table.add_section()
    means = (np.nanmean([errors[group] for errors in pairs.values()], axis=0) for group in GROUPS)
    table.add_row("mean of pairs", *(_cell(*mean) for mean in means))
    Console().print(table)
    return 0


def _cell(share: float, absolute: float, squared: float) -> str:
    return f"{absolute:.4f} ({squared:.4f}) {share:4.0%}" if share else "-"
