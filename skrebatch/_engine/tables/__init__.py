"""Tables that training reads rows of."""
