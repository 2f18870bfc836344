"""A brand that never was, with half a year of history: for trying things out, and for showing them.

:mod:`distrib.demo.world` invents what happens, :mod:`distrib.demo.history` lets it happen through
the same services that everybody uses, at the time at which it happens, and
:mod:`distrib.demo.figures` counts what came of it.
"""
