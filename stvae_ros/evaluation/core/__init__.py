"""What all evaluations share: the loop, the methods that are compared, metrics and scores."""
