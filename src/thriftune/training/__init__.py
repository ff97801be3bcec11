"""Training one configuration: a generator of checkpoints that knows nothing of disks."""
