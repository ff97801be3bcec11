"""The dual agent: a shared encoder, a criteria agent and an evidence agent. Torch only."""
