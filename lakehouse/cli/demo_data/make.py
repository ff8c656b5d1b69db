"""Write `orders.csv` and `cities.csv`; the same bytes each time.

`python -m lakehouse.cli.demo_data.make`
"""

import csv
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

HERE = Path(__file__).parent
SEED = 20260101
ORDERS = 4000
FIRST_AT = datetime(2026, 1, 1, 6, 0, tzinfo=UTC)

CITIES = (  # name, country, time zone, latitude, longitude, population (None: not known to us)
    ("Amsterdam", "Netherlands", "Europe/Amsterdam", 52.3676, 4.9041, 931298),
    ("Athína", "Greece", "Europe/Athens", 37.9838, 23.7275, 643452),
    ("Bengaluru", "India", "Asia/Kolkata", 12.9716, 77.5946, 8443675),
    ("Berlin", "Germany", "Europe/Berlin", 52.52, 13.405, 3782202),
    ("Bogotá", "Colombia", "America/Bogota", 4.711, -74.0721, 7743955),
    ("Boston, MA", "United States", "America/New_York", 42.3601, -71.0589, 653833),
    ("Brno", "Czechia", "Europe/Prague", 49.1951, 16.6068, 400566),
    ("Cape Town", "South Africa", "Africa/Johannesburg", -33.9249, 18.4241, None),
    ("Chicago, IL", "United States", "America/Chicago", 41.8781, -87.6298, 2664452),
    ("Ciudad de México", "Mexico", "America/Mexico_City", 19.4326, -99.1332, 9209944),
    ("Gdańsk", "Poland", "Europe/Warsaw", 54.352, 18.6466, 487834),
    ("Göteborg", "Sweden", "Europe/Stockholm", 57.7089, 11.9746, 604829),
    ("Hà Nội", "Vietnam", "Asia/Ho_Chi_Minh", 21.0278, 105.8342, 8053663),
    ("Helsinki", "Finland", "Europe/Helsinki", 60.1699, 24.9384, 674500),
    ("İstanbul", "Türkiye", "Europe/Istanbul", 41.0082, 28.9784, 15655924),
    ("København", "Denmark", "Europe/Copenhagen", 55.6761, 12.5683, 653664),
    ("Kraków", "Poland", "Europe/Warsaw", 50.0647, 19.945, 804237),
    ("Lisboa", "Portugal", "Europe/Lisbon", 38.7223, -9.1393, 545796),
    ("Ljubljana", "Slovenia", "Europe/Ljubljana", 46.0569, 14.5058, 295504),
    ("London", "United Kingdom", "Europe/London", 51.5074, -0.1278, 8866180),
    ("Lyon", "France", "Europe/Paris", 45.764, 4.8357, 522250),
    ("Melbourne, VIC", "Australia", "Australia/Melbourne", -37.8136, 144.9631, 5207145),
    ("Montréal, QC", "Canada", "America/Toronto", 45.5017, -73.5673, 1762949),
    ("Nairobi", "Kenya", "Africa/Nairobi", -1.2921, 36.8219, 4397073),
    ("Oslo", "Norway", "Europe/Oslo", 59.9139, 10.7522, 717710),
    ("Portland, OR", "United States", "America/Los_Angeles", 45.5152, -122.6784, 630498),
    ("Reykjavík", "Iceland", "Atlantic/Reykjavik", 64.1466, -21.9426, 139875),
    ("São Paulo", "Brazil", "America/Sao_Paulo", -23.5505, -46.6333, 11451999),
    ("Seoul", "South Korea", "Asia/Seoul", 37.5665, 126.978, 9386034),
    ("Sevilla", "Spain", "Europe/Madrid", 37.3891, -5.9845, 684025),
    ("Tallinn", "Estonia", "Europe/Tallinn", 59.437, 24.7536, 453864),
    ("Torino", "Italy", "Europe/Rome", 45.0703, 7.6869, 847287),
    ("Wellington", "New Zealand", "Pacific/Auckland", -41.2866, 174.7756, None),
    ("Wien", "Austria", "Europe/Vienna", 48.2082, 16.3738, 2005760),
    ("Zürich", "Switzerland", "Europe/Zurich", 47.3769, 8.5417, 436332),
    ("東京", "Japan", "Asia/Tokyo", 35.6762, 139.6503, 14094034),
)

PRODUCTS = (  # name, unit price, weight of the draw
    ("Espresso blend, 1 kg", 24.90, 22),
    ("Espresso blend, 250 g", 7.90, 25),
    ('Filter "Kochere", 250 g', 11.50, 16),
    ("Decaf, 500 g", 14.20, 8),
    ("Hand grinder", 89.00, 4),
    ("Paper filters, size 02, 100 pcs", 6.40, 12),
    ('Kettle "Gooseneck", 1.2 l', 64.50, 3),
    ("Milk jug, 350 ml", 19.80, 5),
    ("Cup, hand-thrown, white", 16.00, 6),
    ('Machine "Bianca", dual boiler', 2390.00, 1),
)

FIRST_NAMES = """
    Ada Aiko Amélie Anders Björn Chloé Dragan Elif Fátima Giulia Håkon Ines Jürgen Kofi Léa
    Małgorzata Nguyễn Oisín Priya Søren Tomás Uğur Wanjiku Xóchitl Zoë
"""
LAST_NAMES = """
    Andersen Böhm Çelik Dvořák Eriksson Fernández García Hernández Ito Jansen Kowalski Lefèvre
    Mwangi Nowak O'Brien Patel Quispe Rossi Silva Tanaka Ünal Virtanen Weiß Yılmaz
"""  # noqa: RUF001 - the dotless i is the name's own
CHANNELS = (("web", 62), ("app", 25), ("shop", 10), ("phone", 3))
NOTES = (
    "Leave at the door",
    "Gift, please wrap",
    'Write "Happy birthday" on the card',
    "Ring twice, then wait;\nthe lift is slow",
    "Invoice to the office, not to me",
    "Grind for French press",
)


def orders(chance: random.Random) -> Iterable[Sequence[object]]:
    """Yield orders in the order they were placed: more towards the end, none at night."""
    moments = sorted(chance.triangular(0, 180, 170) for _ in range(ORDERS))
    for number, day in enumerate(moments, start=1):
        at = FIRST_AT + timedelta(days=int(day), seconds=int(day % 1 * 15 * 3600))
        product, price, _ = chance.choices(PRODUCTS, [weight for *_, weight in PRODUCTS])[0]
        quantity = 1 if price > 50 else chance.choices((1, 2, 3, 4, 6), (60, 22, 9, 6, 3))[0]
        discount = f"{chance.choice((5, 10, 15, 20)) / 100:.2f}" if chance.random() < 0.18 else None
        shipped = at.date() + timedelta(
            days=chance.choices((0, 1, 2, 3, 5), (15, 45, 25, 10, 5))[0]
        )
        yield (
            100_000 + number,
            at.isoformat().replace("+00:00", "Z"),
            f"{chance.choice(FIRST_NAMES.split())} {chance.choice(LAST_NAMES.split())}",
            chance.randint(1, len(CITIES)),
            product,
            quantity,
            f"{price:.2f}",
            discount,
            chance.choices([name for name, _ in CHANNELS], [weight for _, weight in CHANNELS])[0],
            shipped if day < 176 else None,  # the last ones are still being packed
            chance.choice(NOTES) if chance.random() < 0.07 else None,
        )


def write(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with (HERE / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def main() -> None:
    write(
        "cities.csv",
        ("city_id", "city", "country", "time_zone", "latitude", "longitude", "population"),
        [(number, *city) for number, city in enumerate(CITIES, start=1)],
    )
    write(
        "orders.csv",
        (
            "order_id",
            "ordered_at",
            "customer",
            "city_id",
            "product",
            "quantity",
            "unit_price",
            "discount",
            "channel",
            "shipped_on",
            "note",
        ),
        orders(random.Random(SEED)),
    )


if __name__ == "__main__":
    main()
