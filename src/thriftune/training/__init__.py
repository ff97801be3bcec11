"""Training of one configuration: a generator of checkpoints that knows nothing of disks.

Training that is resumed from a checkpoint continues bit for bit, on the same device and with the same number
of threads. `TrainingState` lists all that a resume needs.

    seed_everything(7)
    agent = DualAgent(encoder.instantiate(), ModelConfig(), criteria, {"id": "tiny"}, "float32")
    trainer = Trainer(agent, rows, collator, TrainingConfig(), metric="joint.f1_micro", validate=my_metrics)
    for checkpoint in train(trainer):
        run.submit(checkpoint)  # a thriftune.checkpoints.Run; any other store commits checkpoint.receipt
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
