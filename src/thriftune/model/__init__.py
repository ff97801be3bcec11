"""The dual agent in training: encoders from anywhere, what of them is trained, and the losses.

An encoder comes from a configuration, a package, a directory or the hub, and is loaded the same way each
time: its fingerprint says whether two runs had the same one. Nothing is unpickled. Which tensors training can
change, and which a checkpoint refers to by their hash, is decided here.

    encoder = build_encoder(source, train_texts, cache)
    agent = DualAgent(encoder.instantiate(), config.model, criteria)
    loss = joint_loss(agent, agent(batch), batch, None, None)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
