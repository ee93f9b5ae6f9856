"""Figures of merit and the predictors to beat."""
