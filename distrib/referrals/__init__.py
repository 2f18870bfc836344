"""Who gets the credit for an order."""
