from .encoder import Encoder as Encoder
from .encoder import build_encoder as build_encoder
from .encoder import resolve_encoder as resolve_encoder
from .losses import joint_loss as joint_loss
from .losses import positive_weights as positive_weights
from .trainable import DualAgent as DualAgent
