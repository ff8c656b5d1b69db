"""SQL that somebody might try: made from the engine's own words, nested, commented, misspelt.

Places of the machine stand in it as `{canary}`, `{warehouse}`, `{spool}` and `{listener}`, so a
statement means the same in another folder and on another port.
"""

import re
from dataclasses import dataclass, replace
from typing import Self

from hypothesis import strategies as st

from lakehouse.database import Connection
from lakehouse.query.functions import Kind, judge

TOKEN = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\$\$.*?\$\$|--[^\n]*\n?|/\*.*?\*/|\w+|\s+|.""", re.DOTALL
)
COMMENTS = [" ", "/**/", "/* ; */", "/* '*/", "-- \n", "--';\n", "/* $$ */"]
# The engine replaces these by spaces first, and not behind a quote that it takes for open.
SPACES = [" ", "\n", "\t", "\u00a0", "\u2003", "\u202f", "\u3000", "/**/"]
LOOK_ALIKES = str.maketrans(
    "aeopcxyiSTR();'",
    "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456\u0405\u03a4\uff32\uff08\uff09\uff1b\uff07",
)
JUNK = ["\u200b", "\u202e", "\0", "\ud800", "\u0301", "\ufeff", "\U0001f980", "\\", "'", '"', "$$"]

FILES = [
    *("{canary}/canary.csv", "{canary}/canary.parquet", "{canary}/canary.json", "{canary}/*"),
    *("canary.csv", "canary.lance", "./canary.db", "../canary.csv", "/etc/passwd"),
    *("{warehouse}/tables/vault/secrets/data/*.parquet", "{warehouse}/objects/**", "{spool}/x.csv"),
    *("file://{canary}/canary.csv", "{warehouse}/../../canary.csv", "{warehouse}/tables/vault"),
    *("http://{listener}/x.csv", "https://{listener}/x.parquet", "hf://{listener}/x"),
    *("s3://b/x.csv?s3_endpoint={listener}&s3_use_ssl=false", "gcs://{listener}/x"),
    "s3://b/x?s3_endpoint={listener}&s3_use_ssl=false&s3_url_style=path",
]
GRANTED = ["shop.orders", "lake.shop.orders", "shop.people", '"shop"."orders"', "SHOP.ORDERS"]
HIDDEN = [
    *("vault.secrets", "lake.vault.secrets", '"vault"."secrets"', "VAULT.Secrets", "secrets"),
    *("main.secrets", "memory.main.secrets", "temp.secrets", "system.vault.secrets"),
    *("vault.secrets AT (VERSION => 'main')", "vault.secrets TABLESAMPLE 1%"),
]
INSIDE = [
    *("duckdb_secrets()", "duckdb_settings()", "duckdb_views()", "duckdb_databases()"),
    *("duckdb_functions()", "pragma_version()", "pragma_table_info('shop.orders')"),
    *("pg_catalog.pg_tables", "sqlite_master", "information_schema.views", "duckdb_tables"),
    *("query('SELECT 1')", "query_table('vault.secrets')", "duckdb_logs()", "glob('*')"),
    *("lakehouse.audit", "which_secret('s3://b/x', 's3')", "main.query('SELECT 1')"),
]
READERS = [
    *("read_csv", "read_csv_auto", "read_text", "read_blob", "read_json", "read_json_auto"),
    *("read_ndjson", "read_parquet", "parquet_scan", "parquet_metadata", "parquet_schema"),
    *("glob", "sniff_csv", "iceberg_scan", "iceberg_metadata", "read_avro", "read_duckdb"),
]

# Around a source of rows: a statement that reads it.
AROUND_A_SOURCE = [
    *("SELECT * FROM {x}", "FROM {x}", "FROM {x} SELECT 1", "SELECT count(*) FROM {x} AS t"),
    *(
        "SELECT (SELECT count(*) FROM {x})",
        "SELECT EXISTS (FROM {x})",
        "VALUES ((SELECT 1 FROM {x}))",
    ),
    *("SELECT 1 WHERE false AND EXISTS (SELECT 1 FROM {x})", "SELECT 1 IN (SELECT 1 FROM {x})"),
    *("WITH a AS (SELECT * FROM {x}) SELECT 1", "WITH a AS MATERIALIZED (FROM {x}) FROM a"),
    "WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a, {x} WHERE n < 3) FROM a",
    "WITH RECURSIVE a AS (SELECT 1 AS n FROM {x} UNION ALL SELECT n + 1 FROM a WHERE n < 3) FROM a",
    "WITH RECURSIVE a(k, v) USING KEY (k) AS (SELECT 1, 2 UNION SELECT 1, 2 FROM a, {x}) FROM a",
    *("WITH a AS (SELECT 1), b AS (FROM a, {x}) FROM a", "SELECT * FROM shop.orders, {x}"),
    "SELECT * FROM shop.orders, LATERAL (SELECT * FROM {x}) AS t",
    *("SELECT 1 UNION ALL SELECT 2 FROM {x}", "SELECT 1 EXCEPT (SELECT 1 FROM {x})"),
    *("FROM shop.orders UNION BY NAME FROM {x}", "SELECT 1 INTERSECT SELECT 1 FROM {x}"),
    *("SELECT * FROM shop.orders JOIN {x} ON true", "SELECT * FROM shop.orders NATURAL JOIN {x}"),
    *("SELECT * FROM shop.orders SEMI JOIN {x} USING (id)", "FROM shop.orders POSITIONAL JOIN {x}"),
    "SELECT * FROM shop.orders o ASOF JOIN {x} AS t ON o.id >= t.id",
    "SELECT * FROM shop.orders o JOIN shop.people p ON EXISTS (SELECT 1 FROM {x})",
    *("SELECT 1 ORDER BY (SELECT 1 FROM {x})", "SELECT 1 LIMIT (SELECT 1 FROM {x})"),
    *("SELECT 1 OFFSET (SELECT 1 FROM {x})", "SELECT DISTINCT ON ((SELECT 1 FROM {x})) 1"),
    "SELECT count(*) FROM shop.orders GROUP BY (SELECT 1 FROM {x})",
    "SELECT count(*) FROM shop.orders GROUP BY ROLLUP ((SELECT 1 FROM {x}), id)",
    "SELECT count(*) FROM shop.orders HAVING (SELECT true FROM {x})",
    "SELECT id FROM shop.orders QUALIFY row_number() OVER (ORDER BY (SELECT 1 FROM {x})) = 1",
    "SELECT sum(id) OVER (ORDER BY id ROWS (SELECT 1 FROM {x}) PRECEDING) FROM shop.orders",
    "SELECT sum(id) FILTER (WHERE (SELECT true FROM {x})) FROM shop.orders",
    "SELECT list(id ORDER BY (SELECT 1 FROM {x})) FROM shop.orders",
    "SELECT list_transform([1], lambda e: (SELECT e FROM {x}))",
    *("SELECT [e FOR e IN (SELECT [1] FROM {x})]", "SELECT ARRAY(SELECT 1 FROM {x})"),
    *("SELECT {{'a': (SELECT 1 FROM {x})}}", "SELECT MAP {{1: (SELECT 1 FROM {x})}}"),
    *(
        "SELECT CASE WHEN (SELECT true FROM {x}) THEN 1 END",
        "SELECT TRY_CAST((SELECT 1 FROM {x}) AS INT)",
    ),
    *("SELECT * FROM range((SELECT 1 FROM {x}))", "SELECT unnest((SELECT [1] FROM {x}))"),
    "SELECT * REPLACE ((SELECT 1 FROM {x}) AS id) FROM shop.orders",
    "SELECT repeat((SELECT 'a' FROM {x}), 2), 'a' LIKE (SELECT 'a' FROM {x})",
    *(
        "SELECT * FROM (PIVOT (FROM {x}) ON id IN (1) USING count(*))",
        "SELECT * FROM (UNPIVOT (FROM {x}) ON COLUMNS(*))",
    ),
    *(
        "SELECT * FROM (SELECT * FROM {x}) USING SAMPLE 10%",
        "SELECT * FROM (FROM {x}) TABLESAMPLE 1",
    ),
    *("EXPLAIN SELECT * FROM {x}", "DESCRIBE SELECT * FROM {x}", "SUMMARIZE SELECT * FROM {x}"),
    *("SELECT * FROM (DESCRIBE SELECT * FROM {x})", "SELECT * FROM (SUMMARIZE FROM {x})"),
    "SELECT * FROM shop.orders AT (VERSION => (SELECT 1 FROM {x}))",
    "SELECT COLUMNS(c -> (SELECT true FROM {x})) FROM shop.orders",
]
# Around a query: what would run it, or something else.
STATEMENTS = [
    *("COPY ({q}) TO '{file}'", "COPY shop.orders TO '{file}'", "COPY shop.orders FROM '{file}'"),
    *("CREATE TABLE {name} AS {q}", "CREATE TEMP TABLE {name} AS {q}", "CREATE VIEW {name} AS {q}"),
    *("CREATE OR REPLACE TABLE shop.orders AS {q}", "INSERT INTO shop.orders {q}"),
    *(
        "INSERT INTO vault.secrets {q}",
        "DELETE FROM shop.orders",
        "UPDATE shop.orders SET id = ({q})",
    ),
    "MERGE INTO shop.orders USING ({q}) AS s ON true WHEN MATCHED THEN DELETE",
    *("ATTACH '{file}' AS {name}", "ATTACH ':memory:' AS {name}", "DETACH lake", "USE temp"),
    *("INSTALL {name}", "LOAD '{file}'", "EXPORT DATABASE '{file}'", "IMPORT DATABASE '{file}'"),
    *("CHECKPOINT", "VACUUM", "ANALYZE", "BEGIN", "COMMIT", "ROLLBACK", "TRUNCATE shop.orders"),
    *("SET {setting} = 1", "SET GLOBAL {setting} = '{file}'", "SET SESSION {setting} TO 'x'"),
    *("RESET {setting}", "SET VARIABLE {name} = ({q})", "PRAGMA {setting}", "PRAGMA {setting}=1"),
    *("PRAGMA {pragma}", "PRAGMA {pragma}('x')", "CALL {table_function}('{file}')"),
    *(
        "CREATE SECRET {name} (TYPE s3, KEY_ID 'a', SECRET 'b', ENDPOINT '{listener}')",
        "DROP SECRET x",
    ),
    *(
        "CREATE MACRO {name}(a) AS (a)",
        "CREATE MACRO {name}() AS TABLE {q}",
        "CREATE SCHEMA {name}",
    ),
    *(
        "CREATE SEQUENCE {name}",
        "CREATE TYPE {name} AS ENUM ('a')",
        "CREATE INDEX i ON shop.orders (id)",
    ),
    *("DROP TABLE shop.orders", "DROP VIEW {name}", "ALTER TABLE shop.orders ADD COLUMN x INT"),
    *("ALTER DATABASE lake RENAME TO {name}", "COMMENT ON TABLE shop.orders IS 'x'"),
    *("PREPARE {name} AS {q}", "EXECUTE {name}", "DEALLOCATE {name}", "EXPLAIN ANALYZE {q}"),
    *("EXPLAIN (FORMAT json, ANALYZE) {q}", "COPY FROM DATABASE lake TO temp", "SHOW {name}"),
]
AROUND_A_STATEMENT = [
    *("{s}", "EXPLAIN {s}", "EXPLAIN ANALYZE {s}", "PREPARE p AS {s}", "EXECUTE IMMEDIATE '{s}'"),
    *("WITH a AS ({s}) SELECT 1", "WITH a AS MATERIALIZED ({s}) FROM a", "SELECT * FROM ({s})"),
    *("SELECT ({s})", "SELECT 1; {s}", "{s}; SELECT 1", "SELECT 1 UNION {s}", "({s})"),
    *("DESCRIBE {s}", "SUMMARIZE {s}", "FROM shop.orders |> {s}", "SELECT * FROM query($${s}$$)"),
    *("SELECT json_execute_serialized_sql(json_serialize_sql($${s}$$))", "\ufeff{s}", ";{s}"),
    *("/* SELECT */ {s}", "-- SELECT\n{s}", "/* /* */ {s} -- */", "WITH a AS (SELECT 1) {s}"),
    *("BEGIN; {s}; COMMIT", "SELECT $$ {s} $$", "SELECT 1 -- {s}", "SELECT 1 /*; {s} */"),
]
# Around a name: every place where the engine may write it back without its quotes.
AROUND_A_NAME = [
    *("SELECT {i}.* FROM shop.orders", "SELECT COLUMNS({i}.*) FROM shop.orders", "SELECT 1 AS {i}"),
    *("SELECT {i}.* EXCLUDE (id) FROM shop.orders", "SELECT * EXCLUDE ({i}) FROM shop.orders"),
    *("SELECT * REPLACE (1 AS {i}) FROM shop.orders", "SELECT {i}.{i}.{i} FROM shop.orders"),
    *("SELECT * RENAME (id AS {i}) FROM shop.orders", "SELECT {i} FROM shop.orders", "SELECT ${i}"),
    *("FROM shop.orders AS {i}", "SELECT {i}.* FROM shop.orders AS {i}", "SELECT id FROM shop.{i}"),
    *("FROM shop.orders AS t({i})", "SELECT t.{i} FROM shop.orders AS t({i})", "SELECT {i}(1)"),
    *("SELECT main.{i}(1)", "SELECT * FROM {i}(1)", "SELECT 1::{i}", "SELECT 1::STRUCT({i} INT)"),
    *("SELECT 1::UNION({i} INT)", "SELECT 'a'::ENUM({s})", "SELECT {{{i}: 1}}", "SELECT {i} '1'"),
    *("SELECT struct_pack({i} := 1).{i}", "SELECT name COLLATE {i} FROM shop.orders", "SELECT {s}"),
    *("SELECT id FROM shop.orders JOIN shop.people USING ({i})", "SELECT row_number() OVER {i}"),
    "SELECT sum(id) OVER {i} FROM shop.orders WINDOW {i} AS (ORDER BY id)",
    *("WITH {i} AS (SELECT 1) FROM {i}", "WITH a({i}) AS (SELECT 1) SELECT {i} FROM a"),
    "WITH RECURSIVE a({i}) USING KEY ({i}) AS (SELECT 1 UNION SELECT {i} FROM a) FROM a",
    *("SELECT list_transform([1], lambda {i}: {i} + 1)", "SELECT [{i} FOR {i} IN [1]]"),
    *("SELECT id OPERATOR({i}.+) 1 FROM shop.orders", "SELECT {i}(id) OVER () FROM shop.orders"),
    *("SELECT name LIKE 'a' ESCAPE {s} FROM shop.orders", "SELECT interval 1 {i}", "DESCRIBE {i}"),
    *(
        "SELECT now() AT TIME ZONE {s}",
        "SELECT extract({i} FROM now())",
        "SUMMARIZE {i}",
        "SHOW {i}",
    ),
    *("FROM shop.orders TABLESAMPLE {i}(10%)", "FROM shop.orders AT ({i} => 1)", "SELECT E{s}"),
    *("FROM shop.orders AT (VERSION => {s})", "FROM range(1) WITH ORDINALITY AS t({i})"),
    "SELECT * FROM (PIVOT shop.orders ON id IN (1 AS {i}) USING count(*) AS {i})",
    "SELECT * FROM shop.orders PIVOT (count(*) AS {i} FOR {i} IN ({s}))",
    "SELECT * FROM (UNPIVOT shop.orders ON id, name AS {i} INTO NAME {i} VALUE {i})",
    *("SELECT (SELECT {{'a': 1}}).{i}", "SELECT * FROM range(start := {i})", "SELECT {i}: 1"),
]
NAMES = [
    *("1; COPY (SELECT 1) TO 'escape.csv' --", "1; COPY (SELECT 1) TO '{spool}/escape.csv' --"),
    *("id, (SELECT max(content) FROM read_text('canary.csv')) --", "1; SET threads = 1 --"),
    "id, (SELECT max(content) FROM read_text('{warehouse}/objects/raw/*/*')) AS x, orders",
    *(
        "1; ATTACH ':memory:' AS escape --",
        "x) FROM read_csv('http://{listener}/x') --",
        "a b",
        'a"b',
    ),
    *("a'b", "1; COPY (SELECT 1) TO '{warehouse}/tables/escape.csv' --", "*", "1", "select", "A.b"),
    "1 FROM (SELECT 1) t; CREATE TABLE escape AS SELECT 1 --",
]
VALUES = {
    "BIGINT": [
        "0",
        "1",
        "-1",
        "7",
        "1000",
        "9223372036854775807",
        "-9223372036854775808",
        "id",
        "id",
    ],
    "DOUBLE": ["0.5", "-1.5", "1e308", "'nan'::DOUBLE", "'inf'::DOUBLE", "id::DOUBLE"],
    "VARCHAR": [
        *(
            "''",
            "'a'",
            "'%a_'",
            "name",
            "'é🦀'",
            "'x' || id",
            "'SELECT 1'",
            "'vault.secrets'",
            "'$.a'",
        ),
        *(
            "'[1, 2]'",
            "'{\"a\": [1]}'",
            "'{canary}/canary.csv'",
            "'s3://b/x?s3_endpoint={listener}'",
        ),
        *(
            "'%s%s%d'",
            "'{}'",
            "'(a*)*b'",
            "'2026-01-01'",
            "'main'",
            "'shop.orders'",
            "'sum'",
            "chr(0)",
        ),
    ],
    "BLOB": ["'\\xAA'::BLOB", "''::BLOB"],
    "BOOLEAN": ["true", "id = 1"],
    "DATE": ["DATE '2026-01-01'", "'infinity'::DATE"],
    "TIMESTAMP": ["TIMESTAMP '2026-01-01 00:00:00'", "'-infinity'::TIMESTAMP"],
    "TIME": ["TIME '10:00:00'"],
    "INTERVAL": ["INTERVAL 1 DAY", "INTERVAL (-1) MONTH"],
    "BIT": ["'101'::BIT"],
    "JSON": ["'{\"a\": [1]}'::JSON"],
    "LAMBDA": ["lambda e: e", "lambda e, f: e + f", "lambda e: (SELECT e)"],
    "GEOMETRY": ["'POINT(1 1)'::GEOMETRY"],
    "T[]": ["[1, 2]", "[]", "['a', NULL]", "[[1], [2]]", "range(3)", "[id, id]"],
    "MAP(K, V)": ["MAP {1: 2}", "MAP {'a': [1]}"],
    "STRUCT": ["{'a': 1}", "ROW(1, 'a')", "{'a': {'b': NULL}}"],
    "ANY": ["NULL", "1", "'a'", "[1]", "name", "id", "{'a': 1}", "?"],
}
"""By the type of a parameter as `duckdb_functions()` names it, what may be given for it."""
ALIKE = {
    "BIGINT": "INTEGER SMALLINT TINYINT HUGEINT UBIGINT UINTEGER USMALLINT UTINYINT UHUGEINT",
    "DOUBLE": "FLOAT DECIMAL",
    "TIMESTAMP": "TIMESTAMP WITH TIME ZONE",
    "TIME": "TIME WITH TIME ZONE",
}


def values_of(type_: str) -> list[str]:
    if type_.endswith("]"):
        return VALUES["T[]"]
    alike = next((like for like, names in ALIKE.items() if type_.partition("(")[0] in names), type_)
    return VALUES.get(alike) or VALUES.get(type_.partition("(")[0]) or VALUES["ANY"]


@dataclass(frozen=True)
class Words:
    """What the engine itself says it knows."""

    keywords: list[str]
    functions: list[tuple[str, list[str]]]
    """Each with the types of its parameters, as often as there are forms of it."""
    table_functions: list[tuple[str, list[str]]]
    pragmas: list[str]
    settings: list[str]
    types: list[str]
    is_fair: bool = False
    """Whether only what may run is made of them."""

    @classmethod
    def of(cls, cursor: Connection) -> Self:
        def column(what: str, source: str) -> list[str]:
            sql = f"SELECT DISTINCT {what} FROM {source} ORDER BY 1"
            return [row[0] for row in cursor.execute(sql).fetchall()]

        def functions(*kinds: str) -> list[tuple[str, list[str]]]:
            sql = "SELECT DISTINCT function_name, parameter_types FROM duckdb_functions()"
            rows = cursor.execute(f"{sql} WHERE function_type IN {kinds} ORDER BY ALL").fetchall()
            return [(name, [each or "ANY" for each in types]) for name, types in rows]

        return cls(
            column("keyword_name", "duckdb_keywords()"),
            functions("scalar", "aggregate", "macro"),
            functions("table", "table_macro"),
            column("function_name", "duckdb_functions() WHERE function_type = 'pragma'"),
            column("name", "duckdb_settings()"),
            column("type_name", "duckdb_types()"),
        )

    def fair(self) -> Self:
        """Return those of them that may run."""

        def allowed(
            kind: Kind, functions: list[tuple[str, list[str]]]
        ) -> list[tuple[str, list[str]]]:
            return [each for each in functions if judge(kind, each[0]).verdict != "refused"]

        return replace(
            self,
            functions=allowed("value", self.functions),
            table_functions=allowed("table", self.table_functions),
            is_fair=True,
        )


@st.composite
def poisons(draw: st.DrawFn) -> str:
    """A source of rows that no reader of `shop` may have."""
    kind = draw(st.integers(0, 3))
    file = draw(st.sampled_from(FILES))
    if kind == 0:
        return draw(st.sampled_from([f"'{file}'", f'"{file}"']))
    if kind == 1:
        options = draw(st.sampled_from(["", ", filename = true", ", union_by_name = true"]))
        path = draw(st.sampled_from([f"'{file}'", f"['{file}']", f"$${file}$$", f"'' || '{file}'"]))
        owner = draw(st.sampled_from(["", "main.", "system.main.", "lake.main."]))
        return f"{owner}{draw(st.sampled_from(READERS))}({path}{options})"
    return draw(st.sampled_from(INSIDE if kind == 2 else HIDDEN))


@st.composite
def wrapped(draw: st.DrawFn) -> str:
    """A poison in up to five layers, spelled in any way that means the same."""
    source = draw(poisons())
    for _ in range(draw(st.integers(0, 4))):
        template = draw(st.sampled_from(AROUND_A_SOURCE[:-8]))
        source = f"({template.format(x=source)})"
    return draw(respelled(draw(st.sampled_from(AROUND_A_SOURCE)).format(x=source)))


@st.composite
def named(draw: st.DrawFn) -> str:
    """A statement with a name in it that would be SQL without its quotes."""
    name = draw(st.sampled_from(NAMES))
    quoted = {"i": '"' + name.replace('"', '""') + '"', "s": "'" + name.replace("'", "''") + "'"}
    return draw(st.sampled_from(AROUND_A_NAME)).format(**quoted)


@st.composite
def respelled(draw: st.DrawFn, sql: str) -> str:
    """The same tokens: other spaces, comments, and letters of another case."""
    pieces = []
    fillers = draw(st.sampled_from([COMMENTS, SPACES]))
    for token in TOKEN.findall(sql):
        if token.isspace():
            pieces.append(draw(st.sampled_from(fillers)))
        elif re.fullmatch(r"\w+", token) and draw(st.integers(0, 9)) == 0:
            pieces.append(draw(st.sampled_from([token.upper(), token.title(), token.lower()])))
        else:
            pieces.append(token)
    return "".join(pieces)


@st.composite
def expressions(draw: st.DrawFn, words: Words, depth: int, type_: str = "ANY") -> str:
    kind = draw(st.integers(0, 9)) if depth else 0
    if kind <= 3:
        return draw(st.sampled_from(values_of(type_)))
    if kind <= 6:
        name, types = draw(st.sampled_from(words.functions))
        call = f"{quoted_maybe(draw, name)}({arguments(draw, words, depth, types)})"
        return call + draw(st.sampled_from([""] * 8 + [" OVER ()", " FILTER (WHERE true)"]))
    inner = expressions(words, depth - 1)
    if kind == 7:
        word = draw(st.sampled_from(["CAST", "TRY_CAST"]))
        return f"{word}({draw(inner)} AS {quoted_maybe(draw, draw(st.sampled_from(words.types)))})"
    if kind == 8:
        operator = draw(st.sampled_from(["+", "||", "=", "<", "AND", "IS NOT DISTINCT FROM", "^@"]))
        return f"({draw(inner)} {operator} {draw(inner)})"
    return f"({draw(queries(words, depth - 1))})"


def arguments(draw: st.DrawFn, words: Words, depth: int, types: list[str]) -> str:
    return ", ".join(draw(expressions(words, depth - 1, each)) for each in types)


def quoted_maybe(draw: st.DrawFn, name: str) -> str:
    plain = re.fullmatch(r"[a-z_][a-z0-9_]*", name)
    return name if plain and draw(st.integers(0, 5)) else '"' + name.replace('"', '""') + '"'


@st.composite
def sources(draw: st.DrawFn, words: Words, depth: int) -> str:
    kind = draw(st.integers(0, 5 if depth else 3))
    if kind <= 1:
        return draw(st.sampled_from(GRANTED))
    if kind == 2:
        return draw(st.sampled_from(["(VALUES (1, 'a')) v(id, name)", "range(3) v(id)"]))
    if kind == 3:
        return draw(st.sampled_from(GRANTED) if words.is_fair else poisons())
    if kind == 4:
        name, types = draw(st.sampled_from(words.table_functions))
        return f"{quoted_maybe(draw, name)}({arguments(draw, words, depth, types)})"
    return f"({draw(queries(words, depth - 1))})"


@st.composite
def queries(draw: st.DrawFn, words: Words, depth: int = 3) -> str:
    """A SELECT of the engine's grammar, over anything, or of what may run."""
    kind = draw(st.integers(0, 5)) if depth else 5
    if kind <= 1:
        template = draw(st.sampled_from(AROUND_A_SOURCE))
        return template.format(x=draw(sources(words, depth - 1)))
    if kind == 2:
        one, other = draw(queries(words, depth - 1)), draw(queries(words, depth - 1))
        word = draw(st.sampled_from(["UNION", "UNION ALL", "EXCEPT", "INTERSECT", "UNION BY NAME"]))
        return f"({one}) {word} ({other})"
    columns = [draw(expressions(words, depth)) for _ in range(draw(st.integers(1, 2)))]
    text = f"SELECT {', '.join(columns)} FROM {draw(sources(words, max(depth - 1, 0)))}"
    clause = draw(st.sampled_from(["", "", " WHERE ", " ORDER BY ", " GROUP BY ALL HAVING "]))
    return text + clause + (draw(expressions(words, min(depth, 1))) if clause else "")


@st.composite
def statements(draw: st.DrawFn, words: Words) -> str:
    """A statement of any kind, around any query, in the place of another."""
    text = draw(st.sampled_from(STATEMENTS))
    file = draw(st.sampled_from([*FILES, "escape.csv", "{spool}/escape.csv", "{warehouse}/escape"]))
    text = text.replace("{file}", file)
    text = text.replace("{q}", draw(queries(words, 1)) if "{q}" in text else "")
    text = text.replace("{name}", draw(st.sampled_from(["escape", "shop.escape", "orders", "s"])))
    for mark, names in (("{setting}", words.settings), ("{pragma}", words.pragmas)):
        text = text.replace(mark, draw(st.sampled_from(names)))
    text = text.replace("{table_function}", draw(st.sampled_from(words.table_functions))[0])
    return draw(st.sampled_from(AROUND_A_STATEMENT)).replace("{s}", text)


@st.composite
def soups(draw: st.DrawFn, words: Words) -> str:
    """Words of the engine in no order."""
    token = st.sampled_from(words.keywords) | st.sampled_from(GRANTED + HIDDEN + READERS)
    token |= st.sampled_from(
        ["(", ")", ",", ";", "*", "=", "'{canary}/canary.csv'", "1", "::", "."]
    )
    beginning = draw(st.sampled_from(["", "SELECT ", "FROM ", "WITH a AS (", "SELECT * FROM "]))
    return beginning + " ".join(draw(st.lists(token, min_size=1, max_size=12)))


@st.composite
def misspelt(draw: st.DrawFn, sql: str) -> str:
    """Some tokens are gone, twice there, look alike, or have what nobody can see in them."""
    tokens = TOKEN.findall(sql)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(tokens) - 1)) if tokens else 0
        kind = draw(st.integers(0, 4))
        before, token, after = tokens[:at], "".join(tokens[at : at + 1]), tokens[at + 1 :]
        changed = [
            [],
            [token, token],
            [token.translate(LOOK_ALIKES)],
            [token, draw(st.sampled_from(JUNK))],
            [draw(st.sampled_from(COMMENTS + SPACES)), token],
        ][kind]
        tokens = [*before, *changed, *after]
    return "".join(tokens)


@st.composite
def anything(draw: st.DrawFn, words: Words) -> str:
    """Any of the above, as it is, respelled or misspelt."""
    kinds = [queries(words.fair()), queries(words), statements(words), soups(words)]
    sql = draw(st.one_of(kinds))
    how = draw(st.integers(0, 3))
    return sql if how < 2 else draw(respelled(sql) if how == 2 else misspelt(sql))
