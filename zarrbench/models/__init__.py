"""Networks behind one protocol. Only modules of this folder import Keras or TensorFlow."""
