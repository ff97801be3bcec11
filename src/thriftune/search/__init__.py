"""Studies and trials. The only room that imports optuna."""
