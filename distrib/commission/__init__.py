"""Plan, engine, accrual, explanation."""
