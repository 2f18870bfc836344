"""One adapter per shop, marketplace or file format."""
