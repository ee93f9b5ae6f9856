"""Evaluation of next-frame prediction, flow, labels, events and motion masks."""
