"""How a brand's providers are configured: a TOML file that ``DISTRIB_PROVIDERS`` names.

::

    [acme.wechat]                       # brand, and the name finance picks the provider by
    adapter = "wechat-pay"
    mch_id = "1900001109"
    private_key_file = "/run/secrets/wechat.pem"    # a secret in a file of its own,
    api_v3_key_env = "WECHAT_API_V3_KEY"            # or in an environment variable

A secret is never in the database, in a log or in an error.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distrib.settlement.providers import BadProviderSetting


class ProviderSettings:
    """The settings of one provider. What is asked for and missing is an error that names it.

    :param where: names the section in errors: ``acme.wechat``.
    :param folder: where adapters may keep files.
    """

    def __init__(self, where: str, values: Mapping[str, Any], folder: Path) -> None:
        self.where = where
        self.folder = folder
        self._values = values

    def text(self, name: str, default: str | None = None) -> str:
        """A setting that is no secret."""
        value = self._values.get(name, default)
        if not isinstance(value, str) or not value:
            raise BadProviderSetting(f"[{self.where}] needs {name}", field=name)
        return value

    def number(self, name: str, default: float) -> float:
        """A number above zero."""
        value = self._values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise BadProviderSetting(f"[{self.where}] {name} is no number above 0", field=name)
        return float(value)

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self._values.get(name, default)
        if not isinstance(value, bool):
            raise BadProviderSetting(f"[{self.where}] {name} is not true or false", field=name)
        return value

    def secret(self, name: str) -> str:
        """A secret: from the file ``<name>_file`` or the environment variable ``<name>_env``."""
        path, variable = self._values.get(f"{name}_file"), self._values.get(f"{name}_env")
        if isinstance(path, str):
            try:
                return Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                raise BadProviderSetting(
                    f"[{self.where}] the file of {name} cannot be read", field=f"{name}_file"
                ) from None
        if isinstance(variable, str):
            if found := os.environ.get(variable):
                return found
            raise BadProviderSetting(
                f"[{self.where}] the environment has no {variable}", field=f"{name}_env"
            )
        raise BadProviderSetting(f"[{self.where}] needs {name}_file or {name}_env", field=name)


def read_provider_file(path: Path | None) -> dict[str, dict[str, dict[str, Any]]]:
    """Brand slug → provider name → settings; empty without a file.

    :raises BadProviderSetting: when it cannot be read or has another shape.
    """
    if path is None:
        return {}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadProviderSetting(f"{path}: {error}", field="DISTRIB_PROVIDERS") from None
    for brand, providers in found.items():
        if not isinstance(providers, dict):
            raise BadProviderSetting(f"{path}: {brand} is no section", field="DISTRIB_PROVIDERS")
        for name, values in providers.items():
            if not isinstance(values, dict) or not isinstance(values.get("adapter"), str):
                raise BadProviderSetting(
                    f"{path}: [{brand}.{name}] needs an adapter", field="DISTRIB_PROVIDERS"
                )
    return found
