"""One adapter per way of moving money."""
