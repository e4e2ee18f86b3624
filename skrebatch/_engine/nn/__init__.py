"""Networks: one as a plain module, many in one parameter with written-out gradients."""
