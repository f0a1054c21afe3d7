"""How many workers each version has, from none to its most: decided purely, then acted on."""
