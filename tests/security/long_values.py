"""Calls on a value as long as it may be, in each row of a table: what they cost is of each row.

`l` is a list of numbers, `s` a text, `m` a map, `j` a JSON, and `id` another number in each row.
"""

from lakehouse.query.lists import HEAVY, NAMED

ONE_LIST = [
    *("list_sum", "list_avg", "list_min", "list_max", "list_count", "list_product", "list_first"),
    *("list_last", "list_any_value", "list_bit_and", "list_bit_or", "list_bit_xor", "list_reverse"),
    *("array_reverse", "array_pop_back", "array_pop_front", "len", "hash", "to_json", "json_array"),
]
REST = {
    **dict.fromkeys(NAMED, ", 'mode'"),
    **dict.fromkeys(["list_where", "array_where"], ", list_transform(l, lambda x: true)"),
    **dict.fromkeys(["list_select", "array_select"], ", l"),
}
AGGREGATES = [
    *("any_value", "approx_count_distinct", "avg", "bit_xor", "count", "entropy", "favg", "first"),
    *("fsum", "histogram", "kahan_sum", "kurtosis", "last", "list", "mad", "max", "median", "min"),
    *("mode", "product", "sem", "skewness", "stddev", "string_agg", "sum"),
]

OF_LISTS = {
    **{name: f"{name}(l{REST.get(name, '')})" for name in [*ONE_LIST, *sorted(HEAVY)]},
    **{f"list_aggregate {name}": f"list_aggregate(l, '{name}')" for name in AGGREGATES},
    "list_aggregate quantile_disc": "list_aggregate(l, 'quantile_disc', 0.3)",
    "list_aggregate approx_quantile": "list_aggregate(l, 'approx_quantile', 0.3)",
    "list_contains": "list_contains(l, -1 - id)",
    "list_position": "list_position(l, -1 - id)",
    "list_append": "len(list_append(l, id))",
    "list_append, summed": "list_sum(list_append(l, id))",
    "list_append, sorted": "list_sort(list_append(l, id))",
    "list_prepend": "len(list_prepend(id, l))",
    "list_concat": "len(list_concat(l, [id]))",
    "list_slice": "len(l[1:-2:2])",
    "list_zip": "len(list_zip(l, l))",
    "list_extract": "l[id]",
    "list_resize": "len(list_resize(l, 10 + id))",
    "list_inner_product": "list_inner_product(l::FLOAT[], l::FLOAT[])",
    "list_transform": "len(list_transform(l, lambda x: x + id))",
    "list_filter": "len(list_filter(l, lambda x: x > id))",
    "list_transform, of texts": "len(list_transform(l, lambda x: x::VARCHAR || id))",
    "list_transform, short enough": "len(list_transform(l[:10000], lambda x: x + id))",
    "list_transform, of short texts": "len(list_transform(l[:3333], lambda x: x::VARCHAR || id))",
    "list_transform, of hashes": "len(list_transform(l[:3333], lambda x: md5(x::VARCHAR || id)))",
    "list_filter, short enough": "len(list_filter(l[:10000], lambda x: x > id))",
    "list_reduce": "list_reduce(l, lambda a, b: a + b)",
    "list_has_any": "list_has_any(l, [id])",
    "list_intersect": "list_intersect(l, [id])",
    "array_to_string": "len(array_to_string(l, ','))",
    "flatten": "len(flatten([l, [id]]))",
    "a cast to text": "len(l::VARCHAR)",
    "a cast to texts": "len(l::VARCHAR[])",
    "equal lists": "l = list_append(l, id)",
    "lists one after the other": "l < [id]",
    "IN": "l IN (l, [id])",
    "a struct": "hash(row(l, id))",
    "a comprehension": "len([x + id for x in l if x > 5])",
}
OF_MAPS = {
    "map_keys": "len(map_keys(m))",
    "map_values": "len(map_values(m))",
    "map_entries": "len(map_entries(m))",
    "map_extract": "map_extract(m, -1 - id)",
    "map_contains": "map_contains(m, -1 - id)",
    "map_contains_value": "map_contains_value(m, -1 - id)",
    "map_concat": "cardinality(map_concat(m, MAP {id: id}))",
    "map_concat, short enough": "cardinality(map_concat(map_from_entries(map_entries(m)[:249]),"
    " MAP {id: id}))",
    "map_concat, of lists": "cardinality(map_concat(MAP {range(id, id + 800): 1}, MAP {[id]: 1}))",
    "map_concat, to lists": "cardinality(map_concat(MAP {1: range(id, id + 4000)}, MAP {2: [id]}))",
    "map_from_entries": "cardinality(map_from_entries(map_entries(m)))",
    "cardinality": "cardinality(m)",
    "a map as text": "len(m::VARCHAR)",
    "equal maps": "m = map_concat(m, MAP {id: id})",
}
OF_TEXTS = {
    **{
        name: f"{name}(s || id)"
        for name in [
            *("md5", "sha1", "sha256", "hash", "upper", "lower", "reverse", "strip_accents", "len"),
            *("length_grapheme", "nfc_normalize", "url_encode", "hex", "bin", "ascii", "trim"),
            *("regexp_escape", "strlen", "unicode", "json_quote", "json_valid", "bit_length"),
        ]
    },
    "base64": "to_base64((s || id)::BLOB)",
    "from_base64": "from_base64(s)",
    "translate": "translate(s, 'abc', 'xyz' || id)",
    "replace": "replace(s, 'a', 'b' || id)",
    "split": "len(string_split(s, 'a' || id))",
    "split at every letter": "len(string_split(s || id, ''))",
    "contains": "contains(s, 'b' || id)",
    "LIKE": "s LIKE '%b' || id || '%'",
    "ILIKE": "s ILIKE '%b' || id || '%'",
    "GLOB": "s GLOB '*b' || id",
    "regexp_replace": "regexp_replace(s, 'a' || id, 'b', 'g')",
    "regexp_extract_all": "len(regexp_extract_all(s, 'a' || (id % 3)))",
    "levenshtein": "levenshtein(s, 'b' || id)",
    "hamming": "hamming(s, s)",
    "jaccard": "jaccard(s, 'b' || id)",
    "substr": "substr(s, 5 + id % 10)",
    "substring_grapheme": "substring_grapheme(s, 5 + id % 10)",
    "left_grapheme": "left_grapheme(s, 5000000 + id)",
    "lpad": "lpad(s, 5 + id::INT % 10, 'x')",
    "concat": "concat(s, id, s)",
    "printf": "printf('%s %d', s, id)",
    "format": "format('{} {}', s, id)",
    "equal texts": "s = s || id",
    "a cast to a number": "TRY_CAST(s || id AS DOUBLE)",
    "a cast to a list": "TRY_CAST('[' || s || id || ']' AS VARCHAR[])",
    "bits": "bit_count(TRY_CAST(translate(s, 'a', '1') AS BIT))",
    "sorting by a language": "icu_sort_key(s, 'de')",
    "strptime": "try_strptime(s || id, '%Y')",
}
OF_JSON = {
    "json_extract": "json_extract(j, '$.a' || id)",
    "json_extract_string": "j ->> ('$[' || id || ']')",
    "json_keys": "json_keys(j)",
    "json_type": "json_type(j)",
    "json_array_length": "json_array_length(j)",
    "json_transform": "json_transform(j, '[\"BIGINT\"]')",
    "json_pretty": "json_pretty(j)",
    "json_exists": "json_exists(j, '$.a' || id)",
    "JSON of JSON": "to_json(j)",
}

MADE = {
    "l": "range(1000000)",
    "s": "repeat('a', 1000000)",
    "m": "map(range(100000), range(100000))",
    "j": "to_json(range(1000000))",
}
COLLECTED = {
    "l": "list(i)",
    "s": "string_agg(i, 'a')",
    "m": "map(list(i), list(i))",
    "j": "to_json(list(i))",
}
LONGEST = {"l": 15_000, "s": 15_000, "m": 2_500, "j": 15_000}
"""Rows of which one value is made that is just short enough to be joined."""
SOURCES = {
    **{f"{name}, made": f"(SELECT {MADE[name]} AS {name}) v" for name in MADE},
    **{
        f"{name}, collected": f"(SELECT {value} AS {name} FROM range(1000000) t(i)) v"
        for name, value in COLLECTED.items()
    },
    **{
        f"{name}, short enough": f"(SELECT {value} AS {name} FROM range({LONGEST[name]}) t(i)) v"
        for name, value in COLLECTED.items()
    },
}
CALLS = {"l": OF_LISTS, "m": OF_MAPS, "s": OF_TEXTS, "j": OF_JSON}
STATEMENTS = {
    f"{name}, {of}": f"SELECT count({call}) FROM points, {source}"
    for of, source in SOURCES.items()
    for name, call in CALLS[of[0]].items()
}
MB = "repeat('x', 1000000)"
TEXT = "replace(repeat('a', 1000000), 'a', repeat('b', 16))"
ONE_CALL = {
    "2,000 texts": f"SELECT len(concat({', '.join([MB] * 2_000)}))",
    "2,000 texts, one after the other": f"SELECT len({' || '.join([MB] * 2_000)})",
    "200 lists": f"SELECT len(list_concat({', '.join(['range(1000000)'] * 200)}))",
    "lists of lists": "SELECT len(flatten(list_transform(range(1000), lambda x: range(1000000))))",
    "a text of 64 MB": "SELECT len(replace(repeat('a', 1000000), 'a', repeat('b', 64)))",
    "a text of 16 MB": f"SELECT len({TEXT})",
    "a text of 16 MB, letter by letter": f"SELECT len(string_split({TEXT}, ''))",
    "a text of 16 MB, all matches": f"SELECT len(regexp_extract_all({TEXT}, 'b'))",
    "a text for each row": "SELECT sum(len(lpad(name, 1000000, 'x'))) FROM points",
    "a text for each row, as long as may be": "SELECT sum(len(lpad(name, 100000, name)))"
    " FROM points",
    "a list for each row": "SELECT sum(len(range(id, id + 1000000))) FROM points",
    "a list for each row, as long as may be": "SELECT sum(len(range(id, id + 10000))) FROM points",
    "a list for each row, of rows": "SELECT count(*) FROM (SELECT unnest(range(id, id + 1000000))"
    " FROM points)",
    "a list that is made longer": "SELECT sum(len(list_resize([id], 1000000, id))) FROM points",
    "bits": "SELECT sum(bit_count(bitstring('1', 1000000 - id::INT))) FROM points",
    "a text of all rows": "SELECT len(string_agg(lpad(name, 100000, 'x'), '')) FROM points",
    "a list of all rows, as text": "SELECT len(list(i)::VARCHAR) FROM range(30000000) t(i)",
    "a list of all rows, as JSON": "SELECT len(to_json(list(i))) FROM range(30000000) t(i)",
    "a list of all rows, sorted": "SELECT len(list_sort(list(hash(i)))) FROM range(9000000) t(i)",
    "hexes of hexes": f"SELECT len(hex(hex(hex(hex({MB})))))",
    "texts that double in queries": "SELECT len(md5(s)) FROM points, "
    + "(SELECT s || s AS s FROM " * 20
    + f"(SELECT {MB} AS s)"
    + ")" * 20,
    "lists that double in queries": "SELECT len(list_sort(l)) FROM points, "
    + "(SELECT l || l AS l FROM " * 20
    + "(SELECT range(1000) AS l)"
    + ")" * 20,
}
MOST = {
    "list_sort of list": "SELECT len(list_sort(list(name))) FROM points",
    "list_distinct of list": "SELECT len(list_distinct(list(name))) FROM points",
    "list with an order": "SELECT len(list(DISTINCT name ORDER BY name)) FROM points",
    "array_agg": "SELECT len(array_agg(name)) FROM points",
    "grouped lists": "SELECT id % 3, list_sort(list(id))[1] FROM points GROUP BY ALL",
    "a list of a query": "SELECT len(list_sort(l)) FROM (SELECT list(id) AS l FROM points)",
    "lists that are joined": "SELECT count(list_sort(l)) FROM points JOIN (SELECT id % 1000 AS k,"
    " list(name) AS l FROM points GROUP BY k) ON id = k",
    "a subquery as a value": "SELECT max(len((SELECT list(i) FROM range(50) t(i)))) FROM points",
    "small counts": "SELECT sum(list_sum(list_sort(range(10)))) + sum(len(generate_series(1, 100)))"
    " FROM points",
    "dates": "SELECT count(*) FROM (SELECT unnest(generate_series(DATE '2020-01-01',"
    " DATE '2026-01-01', INTERVAL 1 DAY)))",
    "rows of a list": "SELECT count(*) FROM (SELECT unnest(range(200000)) AS i) JOIN points"
    " ON i = id",
    "a path": "WITH RECURSIVE r AS (SELECT 1 AS n, 'a' AS p UNION ALL SELECT n + 1, p || '/' || n"
    " FROM r WHERE n < 50) SELECT len(max(p)) FROM r",
    "words": "SELECT count(list_distinct(string_split(name, ' '))) FROM points",
    "texts put together": "WITH t AS (SELECT id, name || '-' || id AS k FROM points)"
    " SELECT count(*) FROM t JOIN points USING (id) WHERE k LIKE 'name%'",
}
