"""What Kedro is told about this project: hooks, resolvers, configuration loader, parameters."""
