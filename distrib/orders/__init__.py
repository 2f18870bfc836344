"""Orders and refunds as the shop reports them; bulk intake."""
