"""Where a worker process of the server begins: granian with ``--factory distrib.api.wsgi:build``.

The engine is made here, in the worker, never before a fork.
"""

from __future__ import annotations

import atexit
from contextlib import ExitStack

from flask import Flask

from distrib.api.app import create_app
from distrib.config import settings
from distrib.db import Database, make_engine
from distrib.jobs import Waker

_POOL = 10
"""Connections a worker keeps; give it about as many threads, at most twice as many."""


def build() -> Flask:
    """The app of this process, with settings from its environment."""
    stack = ExitStack()
    atexit.register(stack.close)
    found = stack.enter_context(settings())
    engine = make_engine(found.database_url, pool_size=_POOL)
    stack.callback(engine.dispose)
    return create_app(found, Database(engine, Waker(found)))
