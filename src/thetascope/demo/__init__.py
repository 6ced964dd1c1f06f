"""The demo: the thesis's network, the digits and MNIST, its training."""
