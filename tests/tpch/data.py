"""The eight tables of TPC-H, made by plain SQL: no generator, no network, the same each time.

Keys, value ranges and distributions are those of the specification where a query depends on them,
so that each of the 22 finds something. Source: https://www.tpc.org/tpch/, section 4.2.
"""

from collections.abc import Sequence

import duckdb

TABLES = ("region", "nation", "supplier", "part", "partsupp", "customer", "orders", "lineitem")
PRIMARY_KEYS = {"orders": "o_orderkey", "lineitem": "l_orderkey,l_linenumber"}
REGIONS = ("AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST")
NATIONS = (
    *(("ALGERIA", 0), ("ARGENTINA", 1), ("BRAZIL", 1), ("CANADA", 1), ("EGYPT", 4)),
    *(("ETHIOPIA", 0), ("FRANCE", 3), ("GERMANY", 3), ("INDIA", 2), ("INDONESIA", 2)),
    *(("IRAN", 4), ("IRAQ", 4), ("JAPAN", 2), ("JORDAN", 4), ("KENYA", 0), ("MOROCCO", 0)),
    *(("MOZAMBIQUE", 0), ("PERU", 1), ("CHINA", 2), ("ROMANIA", 3), ("SAUDI ARABIA", 4)),
    *(("VIETNAM", 2), ("RUSSIA", 3), ("UNITED KINGDOM", 3), ("UNITED STATES", 1)),
)
WORDS = {
    "colour": "almond azure beige blue chiffon coral cyan forest frosted gainsboro ghost green "
    "indian ivory khaki lace lemon linen magenta maroon mint navy olive orchid peach plum",
    "grade": "STANDARD SMALL MEDIUM LARGE ECONOMY PROMO",
    "finish": "ANODIZED BURNISHED PLATED POLISHED BRUSHED",
    "metal": "TIN NICKEL BRASS STEEL COPPER",
    "size": "SM LG MED JUMBO WRAP",
    "box": "CASE BOX BAG JAR PKG PACK CAN DRUM",
    "segment": "AUTOMOBILE BUILDING FURNITURE MACHINERY HOUSEHOLD",
    "noun": "special requests packages deposits accounts pinto beans foxes ideas theodolites",
}
LISTS = {
    "priority": ("1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"),
    "mode": ("REG AIR", "AIR", "AIR REG", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB"),
    "instruct": ("DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN"),
    **{name: tuple(text.split()) for name, text in WORDS.items()},
}
MACROS = """
CREATE MACRO pick(key, salt, n) AS CAST(hash(hash(key, salt)) % n AS INTEGER);
CREATE MACRO money(key, salt, low, high) AS
    CAST((low * 100 + pick(key, salt, (high - low) * 100 + 1)) / 100 AS DECIMAL(15,2));
CREATE MACRO phone(key, nation) AS format('{}-{:03d}-{:03d}-{:04d}', nation + 10,
    100 + pick(key, 'p1', 900), 100 + pick(key, 'p2', 900), 1000 + pick(key, 'p3', 9000));
CREATE MACRO supplier_of(part, nth, suppliers) AS CAST((part + nth * (suppliers // 4
    + (part - 1) // suppliers)) % suppliers + 1 AS BIGINT);
"""
SUPPLIER = """
SELECT i AS s_suppkey, format('Supplier#{{:09d}}', i) AS s_name, hex(hash(i, 'sa')) AS s_address,
    pick(i, 'sn', 25) AS s_nationkey, phone(i, pick(i, 'sn', 25)) AS s_phone,
    money(i, 'sb', -999, 9999) AS s_acctbal,
    CASE WHEN i % 97 = 5 THEN 'carefully Customer slyly Complaints' ELSE {text} END AS s_comment
FROM range(1, {suppliers} + 1) r(i)"""
PART = """
SELECT i AS p_partkey, concat_ws(' ', word_colour(i, 1), word_colour(i, 2), word_colour(i, 3),
        word_colour(i, 4), word_colour(i, 5)) AS p_name,
    'Manufacturer#' || (1 + pick(i, 'b1', 5)) AS p_mfgr,
    'Brand#' || (1 + pick(i, 'b1', 5)) || (1 + pick(i, 'b2', 5)) AS p_brand,
    concat_ws(' ', word_grade(i, 1), word_finish(i, 1), word_metal(i, 1)) AS p_type,
    1 + pick(i, 'ps', 50) AS p_size,
    concat_ws(' ', word_size(i, 1), word_box(i, 1)) AS p_container,
    CAST((90000 + (i // 10) % 20001 + 100 * (i % 1000)) / 100 AS DECIMAL(15,2)) AS p_retailprice,
    {text} AS p_comment
FROM range(1, {parts} + 1) r(i)"""
PARTSUPP = """
SELECT p AS ps_partkey, supplier_of(p, n, {suppliers}) AS ps_suppkey,
    1 + pick(p * 4 + n, 'pq', 9999) AS ps_availqty,
    money(p * 4 + n, 'pc', 1, 1000) AS ps_supplycost, word_noun(p, n) AS ps_comment
FROM range(1, {parts} + 1) r(p), range(4) s(n)"""
CUSTOMER = """
SELECT i AS c_custkey, format('Customer#{{:09d}}', i) AS c_name, hex(hash(i, 'ca')) AS c_address,
    pick(i, 'cn', 25) AS c_nationkey, phone(i, pick(i, 'cn', 25)) AS c_phone,
    money(i, 'cb', -999, 9999) AS c_acctbal, word_segment(i, 1) AS c_mktsegment,
    {text} AS c_comment
FROM range(1, {customers} + 1) r(i)"""
LINEITEM = """
WITH ordered AS (
    SELECT i, DATE '1992-01-01' + pick(i, 'od', 2406) AS day, unnest(range(1 + pick(i, 'ol', 7)))
        AS n FROM range({first}, {last}) r(i)
), drawn AS (
    SELECT *, i * 8 + n AS k, CAST(1 + pick(i * 8 + n, 'lp', {parts}) AS BIGINT) AS part,
        1 + pick(i * 8 + n, 'lq', 50) AS quantity, day + 1 + pick(i * 8 + n, 'ls', 121) AS ship
    FROM ordered
)
SELECT i * 4 AS l_orderkey, part AS l_partkey,
    supplier_of(part, pick(k, 'lsup', 4), {suppliers}) AS l_suppkey,
    CAST(n + 1 AS INTEGER) AS l_linenumber, CAST(quantity AS DECIMAL(15,2)) AS l_quantity,
    CAST(quantity * p_retailprice AS DECIMAL(15,2)) AS l_extendedprice,
    CAST(pick(k, 'ld', 11) / 100 AS DECIMAL(15,2)) AS l_discount,
    CAST(pick(k, 'lt', 9) / 100 AS DECIMAL(15,2)) AS l_tax,
    CASE WHEN receipt > DATE '1995-06-17' THEN 'N' WHEN pick(k, 'lr', 2) = 0 THEN 'R' ELSE 'A' END
        AS l_returnflag,
    CASE WHEN ship > DATE '1995-06-17' THEN 'O' ELSE 'F' END AS l_linestatus,
    ship AS l_shipdate, day + 30 + pick(k, 'lc', 61) AS l_commitdate, receipt AS l_receiptdate,
    word_instruct(k, 1) AS l_shipinstruct, word_mode(k, 1) AS l_shipmode,
    word_noun(k, 1) AS l_comment
FROM (SELECT *, ship + 1 + pick(k, 'lrd', 30) AS receipt FROM drawn)
JOIN part ON p_partkey = part"""
ORDERS = """
SELECT l_orderkey AS o_orderkey,
    CAST(3 * pick(i, 'oc', {customers} // 3) + 1 + pick(i, 'oc2', 2) AS BIGINT) AS o_custkey,
    CASE min(l_linestatus) || max(l_linestatus) WHEN 'FF' THEN 'F' WHEN 'OO' THEN 'O' ELSE 'P' END
        AS o_orderstatus,
    CAST(sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS DECIMAL(15,2)) AS o_totalprice,
    DATE '1992-01-01' + pick(i, 'od', 2406) AS o_orderdate, word_priority(i, 1) AS o_orderpriority,
    format('Clerk#{{:09d}}', 1 + pick(i, 'ok', 100)) AS o_clerk, 0 AS o_shippriority,
    {text} AS o_comment
FROM (SELECT *, l_orderkey // 4 AS i FROM {lineitem}) GROUP BY l_orderkey, i"""
TEXT = "concat_ws(' ', word_noun(i, 1), word_noun(i, 2), word_noun(i, 3))"


def make_tables(connection: duckdb.DuckDBPyConnection, scale: float) -> None:
    """Make the tables in DuckDB; scale 1 has six million rows of `lineitem`."""
    connection.execute(MACROS)
    for name, words in LISTS.items():
        connection.execute(
            f"CREATE MACRO word_{name}(key, nth) AS"
            f" ({list(words)!r})[1 + pick(key, '{name}' || nth, {len(words)})]"
        )
    regions = ", ".join(f"({key}, '{name}', 'a region')" for key, name in enumerate(REGIONS))
    nations = ", ".join(f"({k}, '{name}', {r}, 'a nation')" for k, (name, r) in enumerate(NATIONS))
    create(connection, "region", f"FROM (VALUES {regions}) v(r_regionkey, r_name, r_comment)")
    columns = "n_nationkey, n_name, n_regionkey, n_comment"
    create(connection, "nation", f"FROM (VALUES {nations}) v({columns})")
    sizes = sizes_of(scale)
    for table, sql in (("supplier", SUPPLIER), ("part", PART), ("partsupp", PARTSUPP)):
        create(connection, table, sql.format(text=TEXT, **sizes))
    create(connection, "customer", CUSTOMER.format(text=TEXT, **sizes))
    orders = round(1_500_000 * scale)
    create(connection, "lineitem", LINEITEM.format(first=1, last=orders + 1, **sizes))
    create(connection, "orders", ORDERS.format(text=TEXT, lineitem="lineitem", **sizes))


def make_changes(connection: duckdb.DuckDBPyConnection, scale: float) -> None:
    """Make `new_orders` and `new_lineitem`, some orders changed and some new, and put them in."""
    sizes, orders = sizes_of(scale), round(1_500_000 * scale)
    some = orders // 100
    lines = LINEITEM.format(first=orders - some, last=orders + some, **sizes)
    lines = lines.replace("'lq'", "'changed'")
    create(connection, "new_lineitem", lines)
    create(connection, "new_orders", ORDERS.format(text=TEXT, lineitem="new_lineitem", **sizes))
    for table, key in PRIMARY_KEYS.items():
        connection.execute(
            f"DELETE FROM {table} WHERE EXISTS"
            f" (FROM new_{table} n WHERE {same(key.split(','), 'n', table)})"
        )
        connection.execute(f"INSERT INTO {table} FROM new_{table}")


def same(key: Sequence[str], left: str, right: str) -> str:
    return " AND ".join(f"{left}.{each} = {right}.{each}" for each in key)


def sizes_of(scale: float) -> dict[str, int]:
    return {
        "suppliers": round(10_000 * scale),
        "parts": round(200_000 * scale),
        "customers": round(150_000 * scale),
    }


def create(connection: duckdb.DuckDBPyConnection, table: str, sql: str) -> None:
    connection.execute(f"CREATE TABLE {table} AS {sql}")
