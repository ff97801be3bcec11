"""The model's own parts, from windows to the predictor. Imports nothing else of this project."""
