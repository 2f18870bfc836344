"""Doubles of payment providers: servers on this machine that speak the documented protocols."""
