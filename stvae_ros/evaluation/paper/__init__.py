"""The paper's tables: rows, scores and report."""
