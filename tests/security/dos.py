"""Statements that would take the machine down: small texts that ask for much."""

MB = "repeat('x', 1000000)"
LONG = "repeat('x', 100000)"
"""As long as it may be where rows have it."""
MANY = "range(10000000000) t(i)"
KEYS = ", ".join(f"i % {n + 2} AS c{n}" for n in range(12))
NAMES = ", ".join(f"c{n}" for n in range(12))


def joined(separator: str, template: str, count: int) -> str:
    return separator.join(template.replace("#", str(n)) for n in range(count))


ATTACKS = {
    # Much out of little, nested, in columns and in lambdas.
    "repeat of repeat": "SELECT repeat(repeat('x', 1000000), 1000000)",
    "repeat in a column": "SELECT sum(len(repeat(s, n))) FROM"
    " (SELECT repeat('x', 1000) AS s, 999 + i % 2 AS n FROM range(10000000) t(i))",
    "padded, replaced, joined": "SELECT sum(len(replace(lpad(repeat('ab', 1000), 100000, 'xy'),"
    " 'x', repeat('z', 60)) || i)) FROM range(10000000) t(i)",
    "printf in a column": "SELECT sum(len(printf('%9999d', i))) FROM range(1000000000) t(i)",
    "2,000 texts in one": f"SELECT len(concat_ws('', {joined(', ', MB, 2_000)}))",
    "one text 2,000 times": f"SELECT len(concat_ws('', {joined(', ', 's', 2_000)}))"
    f" FROM (SELECT {MB} AS s)",
    "2,000 texts in a list": f"SELECT len([{joined(', ', MB, 2_000)}])",
    "a text that doubles": "SELECT len(list_reduce(range(60)::VARCHAR[], lambda a, b: a || a))",
    "a text that grows": "SELECT len(list_reduce(range(9999)::VARCHAR[], lambda a, b: a || 'x'))",
    "a list that doubles": "SELECT len(list_reduce([[1], [2]], lambda a, b: list_concat(a, a)))",
    "lambdas in lambdas": "SELECT list_sum(list_transform(range(100000), lambda x: list_sum("
    "list_transform(range(100000), lambda y: list_sum(list_transform(range(1000),"
    " lambda z: x * y * z))))))",
    "texts of a lambda": f"SELECT len(list_transform(range(1000), lambda x: {LONG} || x))",
    "sorting in a lambda": "SELECT list_max(list_transform(range(1000000),"
    " lambda x: len(list_sort(range(1000000)))))",
    "hashes in a lambda": "SELECT list_max(list_transform(range(1000000),"
    f" lambda x: md5({LONG} || x)))",
    "distances in a lambda": "SELECT list_max(list_transform(range(1000000),"
    " lambda x: levenshtein(repeat('ab', 2000) || x, repeat('ba', 2000))))",
    "distances in columns": "SELECT max(levenshtein(repeat('ab', 2000) || i,"
    " repeat('ba', 2000) || i)) FROM range(1000000) t(i)",
    "other distances in columns": "SELECT max(damerau_levenshtein(repeat('ab', 2400) || i,"
    " repeat('ba', 2400) || i)) FROM range(1000000) t(i)",
    "lists of lists": "SELECT len(flatten(list_transform(range(3000), lambda x: range(100000))))",
    "lists compared": "SELECT list_has_any(range(1000000), range(-1000000, 0))",
    "maps joined": "SELECT cardinality(map_concat(map(range(300000), range(300000)),"
    " map(range(300000), range(300000))))",
    "lists compared in columns": "SELECT sum(list_has_any(l, l2)::INT) FROM (SELECT"
    " range(2400 + i % 2) AS l, range(-2400 - i % 2, 0) AS l2 FROM range(1000000) t(i))",
    "maps in columns": "SELECT sum(cardinality(map(l, l))) FROM (SELECT range(4900 + i % 2) AS l"
    " FROM range(1000000) t(i))",
    "JSON in paragraphs": "SELECT len(json_pretty(repeat('[', 100000) || repeat(']', 100000)))",
    "JSON, deep, as a tree": "SELECT count(*) FROM json_tree(repeat('[', 100000)"
    " || repeat(']', 100000))",
    "escapes of escapes": f"SELECT len({'hex(' * 15}{MB}{')' * 15})",
    # Regular expressions and their kin.
    "counted repeats": "SELECT count(*) FROM range(10000000) t(i)"
    " WHERE regexp_matches(repeat('x', 100000), '(x{0,1000}y)?(x{0,1000}y)?' || i)",
    "patterns in a column": "SELECT count(*) FROM range(10000000) t(i)"
    " WHERE regexp_matches(repeat('x', 1000), 'x{10}' || i)",
    "alternatives over long texts": "SELECT count(*) FROM range(1000000) t(i)"
    " WHERE regexp_matches(repeat('a', 100000) || i, '(a|b)*c')",
    "every match": "SELECT sum(len(regexp_extract_all(repeat('ab', 50000) || i, 'a|b')))"
    " FROM range(1000000) t(i)",
    "LIKE over long texts": "SELECT count(*) FROM range(10000000) t(i)"
    " WHERE repeat('a', 100000) || i LIKE '%a%a%a%b'",
    # Rows without end.
    "a cross join": "SELECT count(*) FROM range(10000000) a(i), range(10000000) b(j)"
    " WHERE i * j % 7 = 8",
    "three": "SELECT sum(a.i + b.i + c.i) FROM range(1000000) a(i), range(1000000) b(i),"
    " range(1000000) c(i)",
    "a join by inequality": "SELECT count(*) FROM range(10000000) a(i)"
    " JOIN range(10000000) b(j) ON hash(i) < hash(j) + i",
    "a join by hash": "SELECT count(*) FROM range(10000000000) a(i)"
    " JOIN range(10000000000) b(j) ON hash(i) = hash(j)",
    "unnest in unnest": "SELECT count(*) FROM (SELECT unnest(range(1000000)) FROM"
    " (SELECT unnest(range(1000000)) FROM range(1000000)))",
    "a subquery for each row": "SELECT count(*) FROM range(1000000) a(i) WHERE EXISTS"
    " (SELECT 1 FROM range(1000000) b(j) WHERE j > i AND j * i = 7)",
    "numbers without end": "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r)"
    " SELECT count(*) FROM r",
    "distinct ones": "WITH RECURSIVE r AS (SELECT 1 AS n UNION SELECT n + 1 FROM r)"
    " SELECT count(*) FROM r",
    "a thousand for each": "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + i FROM r,"
    " range(1000) t(i)) SELECT count(*) FROM r",
    "texts that double": "WITH RECURSIVE r AS (SELECT 'x' AS s UNION ALL SELECT s || s FROM r)"
    " SELECT max(len(s)) FROM r",
    "keyed": "WITH RECURSIVE r(k, v) USING KEY (k) AS (SELECT 1, 1 UNION SELECT k + 1, v FROM r)"
    " SELECT count(*) FROM r",
    "an answer without end": f"SELECT i, repeat('x', 1000) FROM {MANY}",
    "an answer of megabytes": f"SELECT {LONG} FROM {MANY}",
    # More than memory and disk hold.
    "a sort": f"SELECT * FROM (SELECT i, md5(i::VARCHAR) AS m FROM {MANY} ORDER BY m)"
    " OFFSET 1000000000",
    "a window": "SELECT max(x) FROM (SELECT row_number() OVER (ORDER BY hash(i)) AS x"
    f" FROM {MANY})",
    "groups": f"SELECT count(*) FROM (SELECT i, count(*) FROM {MANY} GROUP BY i)",
    "distinct values": f"SELECT count(DISTINCT i) FROM {MANY}",
    "a median": f"SELECT median(i) FROM {MANY}",
    "a list": f"SELECT len(list(i)) FROM {MANY}",
    "a histogram": f"SELECT cardinality(histogram(i)) FROM {MANY}",
    "a text": f"SELECT len(string_agg({LONG} || i, '')) FROM {MANY}",
    "JSON": f"SELECT len(json_group_array(i)) FROM {MANY}",
    "lists in a window": "SELECT max(x) FROM (SELECT list(i) OVER (ORDER BY i) AS x"
    " FROM range(1000000) t(i))",
    "grouping sets": f"SELECT count(*) FROM (SELECT {KEYS} FROM range(100000) t(i))"
    f" GROUP BY CUBE ({NAMES})",
    "modes that slide": "SELECT max(x) FROM (SELECT mode(hash(i)) OVER (ORDER BY i ROWS BETWEEN"
    " 1000 PRECEDING AND 1000 FOLLOWING EXCLUDE CURRENT ROW) AS x FROM range(1000000) t(i))",
    "deviations that slide": "SELECT max(x) FROM (SELECT mad(hash(i)) OVER (ORDER BY i ROWS BETWEEN"
    " 1000 PRECEDING AND 1000 FOLLOWING EXCLUDE CURRENT ROW) AS x FROM range(1000000) t(i))",
    "histograms that slide": "SELECT max(cardinality(x)) FROM (SELECT histogram(hash(i)) OVER"
    " (ORDER BY i ROWS BETWEEN 1000 PRECEDING AND 1000 FOLLOWING) AS x FROM range(1000000) t(i))",
    "quantiles that run": "SELECT max(x) FROM (SELECT quantile_cont(hash(i), 0.3) OVER (ORDER BY i)"
    " AS x FROM range(1000000) t(i))",
    # Long texts, deep ones, wide ones.
    "1 MB": f"SELECT '{'x' * 1_000_000}'",
    "10,000 columns": f"SELECT {joined(', ', 'i + #', 10_000)} FROM range(10) t(i)",
    "2,000 columns of many rows": f"SELECT {joined(', ', 'i AS c#', 2_000)} FROM {MANY}",
    "5,000 parentheses": f"SELECT {'(' * 5_000}1{')' * 5_000}",
    "lists in lists": f"SELECT {'[' * 500}1{']' * 500}",
    "lists in lists, fewer": f"SELECT {'[' * 100}1{']' * 100}",
    "CASE in CASE": f"SELECT {'CASE WHEN true THEN ' * 200}1{' END' * 200}",
    "subqueries in subqueries": f"{'SELECT * FROM (' * 200}SELECT 1{')' * 200}",
    "9,000 additions": f"SELECT {joined(' + ', '1', 9_000)}",
    "1,000 unions": f"SELECT 1{' UNION SELECT 1' * 1_000}",
    "1,200 conditions": "SELECT count(*) FROM range(100000000) t(i) WHERE "
    + joined(" OR ", "i % (# + 2) = 1", 1_200),
    "300 windows": "SELECT "
    + joined(", ", "sum(i) OVER (PARTITION BY i % (# + 2) ORDER BY i)", 300)
    + " FROM range(1000000) t(i)",
    "60 tables": "SELECT count(*) FROM range(2) t(i)"
    + joined("", " JOIN range(2) t#(i) ON t#.i = t.i", 60),
    "50 tables": "SELECT count(*) FROM range(2) t(i)"
    + joined("", " JOIN range(2) t#(i) ON t#.i = t.i", 49),
    "CTEs that double": "WITH a0 AS (SELECT 1 AS x), "
    + ", ".join(
        f"a{n} AS NOT MATERIALIZED (SELECT a.x FROM a{n - 1} a, a{n - 1} b)" for n in range(1, 30)
    )
    + " SELECT count(*) FROM a29",
}
FEW = ("a text that doubles", "lists in lists, fewer", "numbers without end")
"""What every run of the tests sends."""
