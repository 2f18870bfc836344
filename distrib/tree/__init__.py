"""Distributors, sponsorships, uplines, and the analysis of the graph they form."""
