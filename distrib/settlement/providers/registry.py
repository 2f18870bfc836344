"""Which providers a brand has, and making them.

Those that need no settings every brand has; the others are sections of the file that
``DISTRIB_PROVIDERS`` names (see :mod:`distrib.settlement.providers.settings`).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from distrib.config import Settings
from distrib.errors import InvalidInput
from distrib.settlement.providers import BadProviderSetting, Provider
from distrib.settlement.providers.settings import ProviderSettings, read_provider_file


@dataclass(frozen=True, slots=True)
class _Adapter:
    module: str
    name: str
    method: str | None


_ADAPTERS = {
    "bank-file": _Adapter("bank_file", "BankFile", None),
    "pain-001": _Adapter("pain_001", "Pain001", "bank"),
    "manual": _Adapter("manual", "Manual", None),
    "wechat-pay": _Adapter("wechat_pay", "WechatPay", "wechat"),
    "alipay": _Adapter("alipay", "Alipay", "alipay"),
    "paypal": _Adapter("paypal", "PayPal", "paypal"),
    "stripe": _Adapter("stripe_connect", "StripeConnect", "stripe"),
}

ADAPTERS = frozenset(_ADAPTERS)
"""The adapters there are."""

BUILT_IN = ("bank-file", "manual")
"""Providers that every brand has."""


@dataclass(frozen=True, slots=True)
class ProviderChoice:
    """A provider that a brand may settle with.

    :param method: the kind of payout method a payee needs; None when the name is enough.
    """

    name: str
    adapter: str
    method: str | None


def list_providers(settings: Settings, brand_slug: str) -> list[ProviderChoice]:
    """The providers that the brand has, by name."""
    names = {*BUILT_IN, *read_provider_file(settings.providers_file).get(brand_slug, {})}
    return [choose_provider(settings, brand_slug, name) for name in sorted(names)]


def choose_provider(settings: Settings, brand_slug: str, name: str) -> ProviderChoice:
    """The brand's provider of that name.

    :raises InvalidInput: when it has none, naming those it has.
    :raises BadProviderSetting: when its section names no known adapter.
    """
    values = _section(settings, brand_slug, name)
    adapter = _ADAPTERS.get(values["adapter"])
    if adapter is None:
        raise BadProviderSetting(
            f"[{brand_slug}.{name}] adapter {values['adapter']!r} is not known; known are"
            f" {', '.join(sorted(_ADAPTERS))}",
            field="adapter",
        )
    method = adapter.method
    if values["adapter"] == "bank-file" and values.get("require_account"):
        method = "bank"
    return ProviderChoice(name, values["adapter"], method)


def make_provider(settings: Settings, brand_slug: str, name: str) -> Provider:
    """The brand's provider of that name, ready to be called.

    :raises BadProviderSetting: naming what its settings lack.
    """
    choice = choose_provider(settings, brand_slug, name)
    adapter = _ADAPTERS[choice.adapter]
    module = import_module(f"distrib.settlement.providers.{adapter.module}")
    found = ProviderSettings(
        f"{brand_slug}.{name}", _section(settings, brand_slug, name), payout_folder(settings)
    )
    made: Provider = getattr(module, adapter.name).from_settings(found)
    return made


def call_rate(settings: Settings, brand_slug: str, name: str) -> float | None:
    """How many requests a second the provider may be handed; None is any number."""
    values = _section(settings, brand_slug, name)
    if "requests_per_second" not in values:
        return None
    found = ProviderSettings(f"{brand_slug}.{name}", values, payout_folder(settings))
    return found.number("requests_per_second", 1)


def payout_folder(settings: Settings) -> Path:
    """Where payment files are."""
    return settings.data_dir / "payouts"


def _section(settings: Settings, brand_slug: str, name: str) -> dict[str, Any]:
    found = read_provider_file(settings.providers_file).get(brand_slug, {})
    if name in found:
        return found[name]
    if name in BUILT_IN:
        return {"adapter": name}
    known = ", ".join(sorted({*BUILT_IN, *found}))
    raise InvalidInput(f"there is no provider {name!r}; known are {known}", field="provider")
