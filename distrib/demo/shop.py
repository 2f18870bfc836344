"""What the demo's brand sells, to whom, and what it pays. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Any

NAME = "云岭茶妆 Yunling Tea & Beauty"
SLUG = "demo"
CURRENCY = "CNY"
TIME_ZONE = "Asia/Shanghai"
HOLD_DAYS = 15
MINIMUM_PAYOUT = 50_00
LEGAL_PERSON = "法务 legal@demo"
LEGAL_TEXT = "distrib-levels-1"

_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢"
    "姜崔钟谭陆汪范金石廖贾夏韦傅方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤"
)
_GIVEN = (
    "雨欣子涵梓轩浩然思远晓峰雅婷佳怡俊杰文静志强美玲丽娜建华秀英海燕明辉春梅国栋玉兰小红嘉豪婉清若曦沐辰锦程"
    "诗韵安琪振宇慧敏天佑紫萱承泽书瑶逸凡清岚云舒墨白景行知夏听雪望舒怀瑾南星青禾月华星河晚晴照临霜叶"
)


def person(rng: Random) -> str:
    """A name."""
    given = "".join(rng.choice(_GIVEN) for _ in range(rng.choice((1, 2, 2, 2))))
    return rng.choice(_SURNAMES) + given


@dataclass(frozen=True, slots=True)
class Product:
    """What can be bought; the price in fen, and how often it sells against others."""

    sku: str
    category: str
    price: int
    weight: int


def _products(category: str, *items: tuple[str, int, int]) -> list[Product]:
    return [Product(sku, category, price, weight) for sku, price, weight in items]


CATALOGUE = [
    *_products(
        "green tea",
        ("TEA-LONGJING-100", 168_00, 14),
        ("TEA-BILUOCHUN-100", 138_00, 10),
        ("TEA-MAOFENG-200", 118_00, 9),
        ("TEA-BAICHA-50", 88_80, 8),
    ),
    *_products(
        "pu'er",
        ("PUER-RIPE-357", 199_00, 9),
        ("PUER-RAW-357", 259_00, 7),
        ("PUER-MINI-24", 69_90, 12),
        ("PUER-2008-357", 1_280_00, 1),
    ),
    *_products(
        "herbal tea",
        ("HERB-ROSE-60", 39_90, 14),
        ("HERB-OSMANTHUS-60", 42_50, 12),
        ("HERB-CHRYSANTHEMUM-80", 35_80, 12),
        ("HERB-GOJI-250", 59_90, 9),
    ),
    *_products(
        "teaware",
        ("WARE-GAIWAN-WHITE", 128_00, 5),
        ("WARE-YIXING-200", 468_00, 2),
        ("WARE-TRAVEL-SET", 158_00, 6),
        ("WARE-CUP-CELADON", 49_90, 8),
    ),
    *_products(
        "skincare",
        ("SKIN-SERUM-TEA", 239_00, 12),
        ("SKIN-CREAM-CAMELLIA", 198_00, 11),
        ("SKIN-TONER-GREEN", 129_90, 12),
        ("SKIN-MASK-10", 99_90, 15),
        ("SKIN-CLEANSER-100", 89_90, 12),
        ("SKIN-SUNSCREEN-50", 118_80, 9),
    ),
    *_products(
        "makeup",
        ("MAKE-LIP-01", 79_90, 11),
        ("MAKE-LIP-07", 79_90, 9),
        ("MAKE-CUSHION-21", 169_00, 8),
        ("MAKE-BLUSH-PEACH", 69_90, 6),
        ("MAKE-BROW-BROWN", 45_50, 7),
    ),
    *_products(
        "gift set",
        ("GIFT-FESTIVAL-TEA", 398_00, 4),
        ("GIFT-MOON-BOX", 299_00, 4),
        ("GIFT-BEAUTY-SET", 459_00, 3),
    ),
    *_products("gift card", ("CARD-100", 100_00, 3), ("CARD-500", 500_00, 1)),
]

FIRST_PLAN: dict[str, Any] = {
    "name": "开业方案 Opening plan",
    "rounding": "half_up",
    "rules": [
        {"name": "everything else", "rates": ["8%", "4%", "2%"]},
        {
            "name": "skincare",
            "match": {"category": ["skincare"]},
            "rates": ["12%", "5%", "2.5%"],
        },
        {"name": "makeup", "match": {"category": ["makeup"]}, "rates": ["10%", "5%", "2%"]},
        {"name": "teaware", "match": {"category": ["teaware"]}, "rates": ["6%", "3%"]},
        {"name": "gift sets", "match": {"category": ["gift set"]}, "rates": ["10%", "4%", "1.5%"]},
        {"name": "star serum", "match": {"sku": ["SKIN-SERUM-TEA"]}, "rates": ["15%", "6%", "3%"]},
        {"name": "gift cards", "match": {"sku": ["CARD-100", "CARD-500"]}, "rates": ["0%"]},
    ],
}

SECOND_PLAN: dict[str, Any] = {
    "name": "秋季方案 Second plan",
    "rounding": "half_up",
    "rules": [
        {"name": "everything else", "rates": ["7.5%", "3.75%", "1.5%"]},
        {
            "name": "skincare and makeup",
            "match": {"category": ["skincare", "makeup"]},
            "rates": ["11%", "5.25%", "2.5%"],
        },
        {"name": "pu'er", "match": {"category": ["pu'er"]}, "rates": ["9%", "4%", "2%"]},
        {"name": "teaware", "match": {"category": ["teaware"]}, "rates": ["6%", "3%", "1%"]},
        {"name": "gift sets", "match": {"category": ["gift set"]}, "rates": ["12%", "5%", "2%"]},
        {"name": "star serum", "match": {"sku": ["SKIN-SERUM-TEA"]}, "rates": ["14%", "6%", "3%"]},
        {"name": "gift cards", "match": {"sku": ["CARD-100", "CARD-500"]}, "rates": ["0%"]},
    ],
}

_FESTIVALS = {
    (1, 10): 150, (1, 15): 170, (3, 8): 190, (5, 20): 170, (6, 16): 170, (6, 17): 190,
    (6, 18): 300, (8, 18): 140, (9, 9): 180, (9, 20): 150, (10, 1): 130, (10, 31): 150,
    (11, 1): 210, (11, 10): 240, (11, 11): 420, (12, 12): 230,
}  # fmt: skip

_HOURS = (0, 0, 0, 0, 0, 0, 0, 1, 3, 5, 6, 6, 7, 6, 5, 5, 5, 5, 6, 8, 11, 12, 9, 4)
"""How many orders come in each hour of the day, against the others."""


def demand(day: date, through: int) -> int:
    """How much is bought on a day, against others.

    :param through: how far the history has come by then, in percent.
    """
    weekend = 125 if day.weekday() >= 5 else 100
    return _FESTIVALS.get((day.month, day.day), 100) * weekend * (55 + through)


def second_of_day(rng: Random) -> int:
    """When on a day somebody buys."""
    hour = rng.choices(range(24), _HOURS)[0]
    return hour * 3600 + rng.randrange(3600)
