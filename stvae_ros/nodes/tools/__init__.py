"""Nodes beside the perception node: video publisher, recorder and probes."""
