"""One network as a plain module, and stacks of networks with explicit gradients."""
