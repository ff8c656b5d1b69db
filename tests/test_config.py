"""Settings: where they come from, and that all that is wrong with them is said at once."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from lakehouse import config as front_door
from lakehouse.config import (
    BrokenRulesError,
    CatalogConfig,
    Config,
    MemoryConfig,
    QueryConfig,
    ServerConfig,
    Setting,
    WrongSettingsError,
    available_memory_bytes,
    catalog_password,
    data_directory,
    effective,
    load_config,
    memory_shares,
    reference,
    take_tokens,
)
from lakehouse.config.loading import FIELDS, variable_of

ROOT = Path(__file__).parent.parent
UNLIMITED_IN_VERSION_1 = 9223372036854771712


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "lakehouse.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(path: Path | None, environ: dict[str, str] | None = None) -> list[str]:
    """Return what is wrong, without the folder that the file is in."""
    with pytest.raises(WrongSettingsError) as caught:
        load_config(path, environ or {})
    assert caught.value.context["problems"] == list(caught.value.problems)
    return [each.replace(f"{path}:", "line ") for each in caught.value.problems]


def test_without_a_file_every_setting_has_its_default() -> None:
    assert load_config(None, {}) == Config()


def test_a_variable_goes_before_the_file_and_the_file_before_the_default(tmp_path: Path) -> None:
    path = written(tmp_path, "[server]\nport = 4000\nshutdown_grace_s = 5\n")

    config = load_config(path, {"LAKEHOUSE_SERVER__PORT": "5000"})

    assert config.server.port == 5000
    assert config.server.shutdown_grace_s == 5
    assert config.server.host == "127.0.0.1"


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_can_come_from_a_variable(name: str, tmp_path: Path) -> None:
    default = FIELDS[name].default
    values = {"server.data_dir": "/srv/lake", "memory.max_bytes": str(1 << 30)}
    values |= {"server.allowed_hosts": "lake.example, lake2", "log.level": "DEBUG"}
    values |= {
        "storage.put_max_bytes": "5",
        "storage.warehouse": "s3://lake/one",
        "disk.reserve_bytes": "0",
    }
    values |= {"backup.directories": "/a b, /c", "auth.open_routes": "/ready, /metrics"}
    values |= {"server.cors_origins": "https://a.example", "server.trusted_proxies": "10.0.0.0/8"}
    values["embedding.ollama_url"] = "http://127.0.0.1:11434"
    values["storage.sources"] = "s3://exports/daily, s3://exports/weekly"
    together = {"auth.proxy_user_header": "X-User", "auth.proxy_users": "ada=analysts"}
    together |= {"server.trusted_proxies": values["server.trusted_proxies"]}
    catalog = {"catalog.uri": "postgresql://lake@db/lake", "catalog.password_file": "/run/secret"}
    values |= together | catalog
    given = values.get(name, str(default))
    others = {"auth.proxy": together, "catalog.pa": catalog}.get(name[:10], {})
    environ = {variable_of(each): value for each, value in others.items()}
    config = load_config(None, {**environ, variable_of(name): given})

    section, _, key = name.partition(".")
    value = getattr(getattr(config, section), key)
    assert type(value) is type(default) or default is None
    if isinstance(value, tuple):
        assert value == tuple(given.split(", "))
    else:
        assert str(value) == given


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("mysql://db/lake", "no address of PostgreSQL"),
        ("db/lake", "no address of PostgreSQL"),
        ("postgresql://[db/lake", "no address"),
        ("postgresql://lake:hunter2@db/lake", "holds a password"),
        ("postgresql://db/lake?user=a&password=hunter2", "holds a password"),
    ],
)
def test_the_catalog_is_named_without_its_password(uri: str, why: str) -> None:
    with pytest.raises(WrongSettingsError, match=why) as raised:
        load_config(None, {"LAKEHOUSE_CATALOG__URI": uri})
    assert "hunter2" not in str(raised.value)


def test_the_password_of_the_catalog_comes_from_a_file_or_from_systemd(tmp_path: Path) -> None:
    (tmp_path / "catalog-password").write_text("from systemd\n")
    (tmp_path / "own").write_text(" of its own \n")
    uri = "postgresql://db/lake"
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert catalog_password(CatalogConfig(uri=uri), environ) == "from systemd"
    assert catalog_password(CatalogConfig(uri=uri), {}) is None
    own = CatalogConfig(uri=uri, password_file=tmp_path / "own")
    assert catalog_password(own, environ) == "of its own"
    with pytest.raises(WrongSettingsError, match="nowhere cannot be read"):
        catalog_password(CatalogConfig(uri=uri, password_file=tmp_path / "nowhere"), environ)


def test_a_path_may_begin_with_the_home_directory() -> None:
    config = load_config(None, {"LAKEHOUSE_SERVER__DATA_DIR": "~/lake"})

    assert config.server.data_dir == Path.home() / "lake"


def test_all_errors_of_a_file_are_said_at_once_with_line_key_and_the_nearest_key(
    tmp_path: Path,
) -> None:
    path = written(
        tmp_path,
        "prot = 1\n"
        "[server]\n"
        "port = 99999\n"
        "hots = 'x'\n"
        "allowed_hosts = [\n"
        "  'a',\n"
        "  'http://b',\n"
        "]\n"
        "[querry]\n"
        "timeout_s = 1\n"
        "nodes_max = 1\n"
        "[query]\n"
        "timeout_s = 'long'\n"
        "[log]\n"
        "level = 'info'\n",
    )

    assert problems_of(path, {"LAKEHOUSE_SERVER__PROT": "1", "LAKEHOUSE_PORT": "3"}) == [
        "line 1: the key 'prot' is unknown; did you mean server.port?",
        "line 3: server.port is 99999, not a whole number from 1 to 65,535",
        "line 4: the key 'hots' of server is unknown; did you mean host?",
        "line 5: server.allowed_hosts 'http://b' is no host name in lower case, without scheme"
        " and port",
        "line 9: the section 'querry' is unknown; did you mean query?",
        "line 13: query.timeout_s is 'long', not a whole number from 1 on",
        "line 15: log.level is 'info', not one of DEBUG, INFO, WARNING, ERROR",
        "the variable LAKEHOUSE_PORT is unknown; did you mean LAKEHOUSE_SERVER__PORT?",
        "the variable LAKEHOUSE_SERVER__PROT is unknown; did you mean LAKEHOUSE_SERVER__PORT?",
    ]


def test_lines_are_right_after_multi_line_values_and_in_every_way_to_write_a_key(
    tmp_path: Path,
) -> None:
    path = written(
        tmp_path,
        "# '''\n"
        "server.allowed_hosts = [  # [query]\n"
        "  'a', # '''\n"
        "]\n"
        "server.data_dir = '''\n"
        "x\n"
        "[log]\n"
        "port = 3'''\n"
        "log = { level = 'LOUD' }\n"
        "\n"
        "[ 'query' ]\n"
        "  'timeout_s' = 0\n",
    )

    assert problems_of(path) == [
        "line 9: log.level is 'LOUD', not one of DEBUG, INFO, WARNING, ERROR",
        "line 12: query.timeout_s is 0, not a whole number from 1 on",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[server]\nport = = 1\n", "line 2: this is not TOML: invalid value"),
        ("[server]\nport = 1\nport = 2\n", "line 3: this is not TOML: cannot overwrite a value"),
        ("server = 1\n", "line 1: server is a section: write [server]"),
        ("[[server]]\nport = 1\n", "line 1: server is a section: write [server]"),
        ("[server]\nport = '3110'\n", "line 2: server.port is '3110', not a whole number"),
        ("[server]\nport = true\n", "line 2: server.port is True, not a whole number"),
        ("[server.port]\nx = 1\n", "line 2: server.port is {'x': 1}, not a whole number"),
        ("[server]\ndata_dir = ''\n", "line 2: server.data_dir is '', not a path"),
        ("[server]\nallowed_hosts = 'a'\n", "line 2: server.allowed_hosts is 'a', not a list"),
        ("[memory]\nmax_bytes = 1000\n", "line 2: memory.max_bytes is 1000, not a whole number"),
        ("[zzz]\n", "line 1: the section 'zzz' is unknown"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(text: str, problem: str, tmp_path: Path) -> None:
    (found, *more) = problems_of(written(tmp_path, text))

    assert found.startswith(problem)
    assert len(more) == (1 if text.startswith("[[") else 0)


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    missing, binary = tmp_path / "none.toml", tmp_path / "binary.toml"
    binary.write_bytes(b"[server]\n# \xff\n")

    assert problems_of(missing) == [f"{missing} cannot be read: no such file or directory"]
    assert problems_of(binary) == ["line 2: this is not UTF-8"]
    assert problems_of(tmp_path) == [f"{tmp_path} cannot be read: is a directory"]


def test_a_variable_is_refused_by_name_and_its_value_is_not_repeated() -> None:
    (problem,) = problems_of(None, {"LAKEHOUSE_TOKN": "lh_secret"})

    assert problem == "the variable LAKEHOUSE_TOKN is unknown; did you mean LAKEHOUSE_TOKEN?"


def test_variables_that_are_no_settings_are_left_alone() -> None:
    others = {"LAKEHOUSE_TOKEN": "x", "LAKEHOUSE_URL": "http://x", "LAKEHOUSE_FAILPOINT": ""}

    assert load_config(None, others | {"PATH": "/bin"}) == Config()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "127.example.com", "", "lake"])
def test_an_address_that_others_reach_is_refused_with_the_reason(host: str) -> None:
    (problem,) = problems_of(None, {"LAKEHOUSE_SERVER__HOST": host})

    assert "server.external = true" in problem


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_every_address_of_loopback_will_do(host: str) -> None:
    assert ServerConfig(host=host).host == host


def test_settings_that_do_not_go_together_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = written(
        tmp_path, "[memory]\nmax_bytes = 536870912\n[query]\nmax_result_bytes = 1_000_000_000\n"
    )

    assert problems_of(path) == [
        "line 4: query.max_result_bytes is over 89,478,485, the part of memory.max_bytes for"
        " uploads and results: one page is made in memory"
    ]
    (problem,) = problems_of(None, {"LAKEHOUSE_STORAGE__VECTORS_PUT_MAX_BYTES": "9"})
    assert problem == (
        "LAKEHOUSE_STORAGE__VECTORS_PUT_MAX_BYTES: storage.vectors_put_max_bytes is below"
        " storage.put_max_bytes: files of vectors are the larger objects"
    )
    assert "longer than the upload" in problems_of(None, {"LAKEHOUSE_INGEST__MAX_BYTES": "10"})[0]
    assert "SQL comes in one" in problems_of(None, {"LAKEHOUSE_QUERY__SQL_MAX_BYTES": "5000000"})[0]


def test_a_rule_also_holds_for_settings_made_in_python() -> None:
    with pytest.raises(BrokenRulesError, match="SQL comes in one"):
        QueryConfig(sql_max_bytes=1 << 30)
    with pytest.raises(BrokenRulesError, match=r"server\.external"):
        msgspec.structs.replace(ServerConfig(), host="0.0.0.0")
    with pytest.raises(BrokenRulesError, match="uploads and results"):
        Config(memory=MemoryConfig(max_bytes=1 << 29), query=QueryConfig(max_result_bytes=1 << 30))


def test_each_value_in_force_says_where_it_comes_from(tmp_path: Path) -> None:
    path = written(tmp_path, "[server]\nport = 4000\n\n[query]\ntimeout_s = 3\n")
    environ = {"LAKEHOUSE_QUERY__TIMEOUT_S": "7", "STATE_DIRECTORY": "/var/lib/lakehouse:/x"}

    found = {each.name: each for each in effective(path, environ)}

    assert found["server.port"] == Setting("server.port", 4000, f"{path}:2")
    assert found["query.timeout_s"].origin == "LAKEHOUSE_QUERY__TIMEOUT_S"
    assert found["query.timeout_s"].value == 7
    assert found["server.host"] == Setting("server.host", "127.0.0.1", "default")
    assert found["server.data_dir"].value == "/var/lib/lakehouse"
    assert found["server.data_dir"].origin == "STATE_DIRECTORY"
    assert found["memory.max_bytes"].value > 0
    assert list(found) == list(FIELDS)


def test_a_secret_is_shown_as_being_there_and_nothing_more() -> None:
    (secret,) = effective(None, {"LAKEHOUSE_TOKEN": "lh_secret"})[-1:]

    assert secret == Setting("LAKEHOUSE_TOKEN", "********", "LAKEHOUSE_TOKEN")


def test_a_token_is_taken_from_the_environment_once_and_from_systemd(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of systemd\n")
    environ = {"LAKEHOUSE_TOKEN": " of the environment ", "CREDENTIALS_DIRECTORY": str(tmp_path)}

    assert take_tokens(environ) == ["of the environment", "of systemd"]
    assert "LAKEHOUSE_TOKEN" not in environ
    assert take_tokens(environ) == ["of systemd"]
    (tmp_path / "token").unlink()
    assert take_tokens(environ) == take_tokens({}) == []


def test_the_data_directory_is_configured_or_given_by_systemd_or_a_folder_here() -> None:
    config = Config(server=ServerConfig(data_dir=Path("/srv/lake")))

    assert data_directory(config, {"STATE_DIRECTORY": "/x"}) == Path("/srv/lake")
    assert data_directory(Config(), {"STATE_DIRECTORY": "/x:/y"}) == Path("/x")
    assert data_directory(Config(), {}) == Path("lakehouse-data")


@pytest.mark.parametrize("max_bytes", [1 << 29, 1_234_567_891, 1 << 40])
def test_the_shares_of_memory_add_up(max_bytes: int) -> None:
    shares = memory_shares(max_bytes)

    parts = [shares.duckdb, shares.vectors, shares.uploads_and_results, shares.rest]
    assert sum(parts) == max_bytes
    assert min(parts) > max_bytes // 10


def limited(tmp_path: Path, own: str, files: dict[str, int | str]) -> int:
    for name, limit in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{limit}\n")
    (tmp_path / "own").write_text(own)
    return available_memory_bytes(tmp_path / "cgroup", tmp_path / "own")


def test_the_limit_of_the_own_cgroup_counts_and_that_of_those_it_lies_in(tmp_path: Path) -> None:
    files: dict[str, int | str] = {
        "system.slice/lake.service/memory.max": 3_000_000,
        "system.slice/memory.max": "max",
    }

    assert limited(tmp_path, "0::/system.slice/lake.service\n", files) == 3_000_000
    (tmp_path / "cgroup/system.slice/memory.max").write_text("2000000\n")
    assert limited(tmp_path, "0::/system.slice/lake.service\n", {}) == 2_000_000


def test_a_container_finds_its_limit_at_the_root(tmp_path: Path) -> None:
    files: dict[str, int | str] = {"memory.max": 4_000_000}

    assert limited(tmp_path, "0::/../../not/seen/here\n", files) == 4_000_000


def test_cgroups_of_version_1_count_too(tmp_path: Path) -> None:
    files: dict[str, int | str] = {
        "memory/memory.limit_in_bytes": UNLIMITED_IN_VERSION_1,
        "memory/docker/memory.limit_in_bytes": 5_000_000,
    }
    own = "5:cpu,cpuacct:/docker\n4:memory:/docker\n0::/\n"

    assert limited(tmp_path, own, files) == 5_000_000


def test_without_cgroups_there_is_the_memory_of_the_machine(tmp_path: Path) -> None:
    assert available_memory_bytes(tmp_path / "none", tmp_path / "none") > 1 << 28


def test_the_reference_page_and_the_example_are_those_of_the_code() -> None:
    again = "run `python -m lakehouse.config`"

    assert (ROOT / reference.PAGE).read_text() == reference.page(), again
    assert (ROOT / reference.EXAMPLE).read_text() == reference.example(), again


def test_the_example_lists_every_setting_at_its_default() -> None:
    assert load_config(ROOT / reference.EXAMPLE, {}) == Config()
    text = (ROOT / reference.EXAMPLE).read_text()
    values = tomllib.loads(text)

    for name, field in FIELDS.items():
        section, _, key = name.partition(".")
        assert key in values[section] or (field.default is None and f"# {key} =" in text)


def test_every_setting_has_its_sentence() -> None:
    for _, about, fields in reference.settings():
        assert about.endswith(".")
        for field, text in fields:
            assert text.endswith("."), field.name


def test_the_front_door_names_every_section() -> None:
    for section in msgspec.structs.fields(Config):
        assert section.type.__name__ in front_door.__all__


def test_commits_are_looked_at_where_others_reach_the_server() -> None:
    off = {"LAKEHOUSE_ICEBERG__CHECKS_COMMITS": "false"}
    assert not load_config(None, off).iceberg.checks_commits
    with pytest.raises(WrongSettingsError, match="that is for loopback"):
        load_config(None, {**off, "LAKEHOUSE_SERVER__EXTERNAL": "true"})
