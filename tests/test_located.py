"""YAML with places: what is read, what is refused, and that every refusal says where."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from gateway.errors import ConfigurationError
from gateway.located import (
    JsonValue,
    Place,
    Seconds,
    Section,
    WrongValue,
    YamlLimits,
    examine,
    hint,
    load_yaml,
    validate,
)


class Peer(Section):
    host: str
    port: int = Field(default=5060, ge=1, le=65535)
    transport: Literal["udp", "tcp"] = "udp"


class Options(Section):
    verbose: bool = False
    level: int = 1


class Settings(Section):
    name: str = ""
    numbers: tuple[str, ...] = ()
    peers: dict[str, Peer] = Field(default_factory=dict)
    backups: tuple[Peer, ...] = ()
    ratio: float = 1.0
    enabled: bool = True
    delay: Seconds = 1.0
    extra: JsonValue = None
    options: Options = Options()
    from_: str = Field(default="", alias="from")


def settings(text: str) -> Settings:
    return validate(Settings, load_yaml(text, "f.yaml"))


def problems(text: str | bytes, limits: YamlLimits | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        validate(Settings, load_yaml(text, "f.yaml", limits))
    return [str(problem).removeprefix("f.yaml:") for problem in caught.value.problems]


# What is read.


@pytest.mark.parametrize(
    "written",
    ["0049", "+49301", "7000", "0", "1_000", "0x10", "1e3", "22:30", "2026-12-24", "no", "on", "true", ".5", "="],
)
def test_plain_scalars_of_text_fields_keep_their_text(written: str) -> None:
    assert settings(f"numbers: [{written}]").numbers == (written,)


def test_typed_fields_convert_plain_and_quoted_scalars() -> None:
    read = settings("peers: {pbx: {host: h, port: 5080}}\nratio: '0.5'\nenabled: false\n")
    assert (read.peers["pbx"].port, read.ratio, read.enabled) == (5080, 0.5, False)


def test_json_fields_follow_the_core_schema_of_yaml_1_2() -> None:
    text = (
        "extra: {int: 12, octal: 0o17, hex: 0x1F, float: 1.5e3, yes: yes, true: true, none: ~, quoted: '12', old: 017}"
    )
    expected = {
        "int": 12,
        "octal": 15,
        "hex": 31,
        "float": 1500.0,
        "yes": "yes",
        "true": True,
        "none": None,
        "quoted": "12",
        "old": 17,
    }
    assert settings(text).extra == expected


def test_json_fields_have_no_infinite_numbers() -> None:
    assert settings("extra: [.inf, .nan, 1e999, -.inf]").extra == [".inf", ".nan", "1e999", "-.inf"]


def test_json_numbers_of_thousands_of_digits_stay_text() -> None:
    assert settings(f"extra: {'9' * 5000}").extra == "9" * 5000


@pytest.mark.parametrize(
    ("written", "seconds"), [("20s", 20.0), ("500ms", 0.5), ("2m", 120.0), ("1h", 3600.0), ("3", 3.0)]
)
def test_spans_of_time_are_seconds(written: str, seconds: float) -> None:
    assert settings(f"delay: {written}").delay == pytest.approx(seconds)


def test_a_key_that_is_a_python_word_is_read_by_its_name_in_the_file() -> None:
    assert settings("from: x").from_ == "x"


def test_an_empty_file_is_an_empty_table() -> None:
    assert settings("") == settings("---\n") == settings("# nothing\n") == Settings()


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes(b"\xef\xbb\xbfname: x\n")
    assert validate(Settings, load_yaml(file)).name == "x"


def test_aliases_repeat_a_value() -> None:
    read = settings("peers:\n  a: &pbx {host: h}\n  b: *pbx\n")
    assert read.peers["a"] == read.peers["b"] == Peer(host="h")


def test_merge_keys_are_refused_with_what_to_do_instead() -> None:
    (problem,) = (text for text in problems("a: &x {b: c}\nd: {<<: *x}\n") if "merges" in text)
    assert problem == "2:5: '<<' merges nothing here (write the keys out; *NAME stands for a whole value)"


def test_a_star_as_a_key_is_told_to_need_quotes() -> None:
    (problem,) = problems("a:\n  *: 1\n")
    assert problem.endswith("(put quotes around text that begins with *)")


# Places.


def test_locate_gives_line_and_column_of_a_value() -> None:
    document = load_yaml("name: x\nbackups:\n  - host: a\n  - host: b\n    port: 1\n", "f.yaml")
    assert document.locate(("name",)) == (1, 7)
    assert document.locate(("backups", 1, "port")) == (5, 11)
    assert document.locate(("backups", 1)) == Place(4, 5)


def test_locate_falls_back_to_the_nearest_ancestor() -> None:
    document = load_yaml("peers:\n  pbx: {host: h}\n", "f.yaml")
    assert document.locate(("peers", "pbx", "port")) == document.locate(("peers", "pbx")) == (2, 8)
    assert document.locate(("nothing", 3)) == (1, 1)


def test_a_problem_can_point_at_the_key() -> None:
    document = load_yaml("peers:\n  pbx: {host: h}\n", "f.yaml")
    assert str(document.problem(("peers", "pbx"), "is odd", at_key=True)) == "f.yaml:2:3: is odd"


def test_keys_and_texts_of_parts() -> None:
    document = load_yaml("peers: {a: {host: 1}, b: {}}\nbackups: [{host: x}, {port: 1}, y, {host: z}]\n", "f.yaml")
    assert document.keys(("peers",)) == ("a", "b")
    assert document.keys(("peers", "a", "host")) == document.keys(("nowhere",)) == ()
    assert document.texts(("backups",), "host") == ("x", "z")


@pytest.mark.parametrize(
    ("text", "comments"),
    [
        ("# a\nx: y # b\n", [("# a", (1, 1)), ("# b", (2, 6))]),
        ("x: 'y # no\n  # no'\nz: |\n  # no\n", []),
        ("\ufeffx: y#no #yes\r\n#: z\r\n", [("#yes", (1, 9)), ("#: z", (2, 1))]),
        ("x: [a, # b\n  c]\n", [("# b", (1, 8))]),
    ],
)
def test_comments_are_kept_with_their_places(text: str, comments: list[tuple[str, tuple[int, int]]]) -> None:
    read = load_yaml(text.encode(), "f.yaml")
    assert [(comment.text, tuple(comment.place)) for comment in read.comments] == comments


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("x: y # b", "# b"),
        ("x: y  # b", ""),
        ("x: 'y' # b", ""),
        ("x: y", ""),
        ("x:   # b", "# b"),
        ("x: y\n  z # b", "# b"),
    ],
)
def test_a_text_knows_the_comment_that_may_have_cut_it(text: str, cut: str) -> None:
    (_, value), *_ = load_yaml(text, "f.yaml").root.entries  # type: ignore[union-attr]
    assert value.cut == cut  # type: ignore[union-attr]


# What is refused, and where.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nam: x", "1:1: unknown key 'nam' (did you mean 'name'?)"),
        ("peers:\n  pbx: {hots: h}", "2:8: key 'host' is missing (expected it in 'pbx')"),
        ("backups:\n- {host: h, prt: 1}", "2:13: unknown key 'prt' (did you mean 'port'?)"),
        ("peers: {pbx: {host: h, port: x}}", "1:30: 'port' is 'x' (expected a whole number)"),
        ("peers: {pbx: {host: h, port: 0}}", "1:30: 'port' is '0' (expected greater than or equal to 1)"),
        ("peers: {pbx: {host: h, port: }}", "1:29: 'port' is empty (expected a whole number)"),
        ("peers: {pbx: {host: h, transport: tpc}}", "1:35: 'transport' is 'tpc' (did you mean 'tcp'?)"),
        ("peers: [a]", "1:8: 'peers' is a list (expected a table of keys)"),
        ("peers: {pbx: s3cret}", "1:14: 'pbx' is text (expected a table of keys, as {host: …})"),
        ("options: on", "1:10: 'options' is text (expected a table of keys, as {} or {verbose: …})"),
        ("numbers: 7000", "1:10: 'numbers' is '7000' (expected a list)"),
        ("numbers: [a, [b]]", "1:14: item 2 of 'numbers' is a list (expected text)"),
        ("numbers: [a, ]\nname: {a: b}", "2:7: 'name' is a table of keys (expected text)"),
        ("numbers: [~]", "1:11: item 1 of 'numbers' is empty (expected text)"),
        ("enabled: maybe", "1:10: 'enabled' is 'maybe' (expected true or false)"),
        ("ratio: nan", "1:8: 'ratio' is 'nan' (expected a finite number)"),
        ("ratio: fast", "1:8: 'ratio' is 'fast' (expected a number)"),
        ("delay: soon", "1:8: 'delay' is 'soon' (expected a time such as 20s, 500ms or 2m)"),
        ("- a", "1:1: the file is a list (expected a table of keys)"),
        ("just text", "1:1: the file is text (expected a table of keys)"),
        ("name: a\nname: b", "2:1: key 'name' appears twice (the first is in line 1)"),
        ("[a]: b", "1:1: a key is a list or a table (expected text as key)"),
        ("name: !!python/name:os.system", "1:7: tag tag:yaml.org,2002:python/name:os.system is not allowed"),
        ("name: !secret x", "1:7: tag !secret is not allowed (write the value without a tag)"),
        ("name: a\n---\nname: b", "2:1: a second document begins here (expected one document a file)"),
        ("numbers: &a [*a]", "1:14: alias *a contains itself (expected an anchor that ends before it)"),
        ("name: *97", "1:7: alias *97 has no anchor (put quotes around text that begins with *)"),
        ("name: *", "1:8: not YAML: expected alphabetic or numeric character, but found '\\x00'"),
        (
            "name:\n\tx: 1",
            "2:1: not YAML: found character '\\t' that cannot start any token (indent with spaces, not tabs)",
        ),
        ("name: a: b", "1:8: not YAML: mapping values are not allowed here (put quotes around text that holds ': ')"),
        (
            "peers: {pbx: {host: h # x}}\nratio: 1",
            "1:23: not YAML: '# x}}' is a comment, and closes nothing (put quotes around text that holds ' #' or begin",
        ),
        ("numbers: [#]\nratio: 1", "1:11: not YAML: '#]' is a comment, and closes nothing"),
        ("# ]\nratio: 1 # x\nname: [a", "3:9: not YAML: expected ',' or ']', but got '<stream end>'"),
        ("name: a # b\n  c\nratio: 1", "1:9: not YAML: '# b' is a comment, and ends the text"),
        ("name: a  # b\n  c\nratio: 1", "2:3: not YAML: expected <block end>"),
        ("name: #\nratio: 1", "1:6: 'name' is empty, as # without quotes begins a comment (expected text)"),
        (
            "a:\n  - say: Hello\n   - hang_up: {}",
            (
                "3:4: the indentation does not fit: column 4 here, column 3 in line 2 "
                "(begin what belongs together in the same column)"
            ),
        ),
        (
            "a:\n  b: 1\n c: 2",
            (
                "3:2: the indentation does not fit: column 2 here, column 1 in line 1 "
                "(begin what belongs together in the same column)"
            ),
        ),
        (
            "a:\n  - say: Hello\n\n      hang_up: {}",
            (
                "4:7: the indentation does not fit: this line is indented as if it went on with the text of line 2 "
                "(begin keys that belong together in the same column)"
            ),
        ),
        (
            "a:\n  b: 1\n  - c",
            (
                "3:3: the indentation does not fit: an item of a list stands among the keys that begin in line 2 "
                "(indent the list below its key)"
            ),
        ),
        ("a\nb: 1", "1:1: not YAML: text where a key is due (put a colon behind the key)"),
        ("a: 1\nb\nc: 1", "2:1: not YAML: text where a key is due (put a colon behind the key)"),
        (
            "a: words\n  and more\n  of them: so",
            "3:10: not YAML: mapping values are not allowed here (put quotes around text that holds ': ')",
        ),
        (
            "numbers: [{name: Are you there?}]",
            "1:31: not YAML: expected ',' or '}', but got '?' (put quotes around text that holds ?)",
        ),
        ("x: [{y: It [is]}]", "1:12: not YAML: expected ',' or '}', but got '[' (put quotes around text that holds [)"),
        (
            "x: [{y: z} {y: z}]",
            "1:12: not YAML: expected ',' or ']', but got '{' (put a comma between one and the next)",
        ),
        (
            "name: {vars.x} is",
            "1:16: not YAML: expected <block end>, but found '<scalar>' (put quotes around text that begins with {)",
        ),
        (
            "name: 'That's it'",
            "1:13: not YAML: expected <block end>, but found '<scalar>' (put quotes around the whole text; within '…'",
        ),
        (
            'x: 1\nname: "a\nratio: 1\noptions: "on"',
            '2:7: not YAML: the text that this " begins goes on to line 4 (close it where the text ends)',
        ),
        ('name: "a\nratio: "*"', '1:7: not YAML: the text that this " begins goes on to line 2'),
        ("name: 'a\nratio: 1", "1:7: not YAML: this ' is never closed (close it where the text ends)"),
        ("numbers: [a, b\nratio: 1", "1:10: not YAML: this [ is not closed before line 2 (close it with ])"),
        ("a:\n  - {x: y\n  - {x: z}", "2:5: not YAML: this { is not closed before line 3 (close it with })"),
        ("x: [\n  {y: z} {y: z}]", "2:10: not YAML: expected ',' or ']', but got '{' (put a comma between"),
        ("peers:\n  pbx:\n    host: x\n    that is:", "4:5: unknown key 'that is' (expected one of host"),
        ("x: [\n  {y: z?}]", "2:8: not YAML: expected ',' or '}', but got '?'"),
        ("a:\n  -{x: y, z: 1}", "2:3: not YAML: a blank is missing behind - (begin the items of a list with - and a"),
        ("a:\n  -{x: y}\n  - {x: z}", "2:3: not YAML: a blank is missing behind -"),
        ("numbers:\n  -x", "2:3: 'numbers' is '-x' (begin the items of a list with - and a blank)"),
        ("numbers:\n  -x: y", "2:3: 'numbers' is a table of keys (begin the items of a list with - and a blank)"),
        (
            "peers: {pbx: {host: x, that is y}}",
            "1:24: unknown key 'that is y' (put quotes around text that holds a comma)",
        ),
        ("peers: {pbx: {host: x, please}}", "1:24: unknown key 'please' (put quotes around text that holds a comma)"),
        ("backups:\n- {host: h, prt: }", "2:13: unknown key 'prt' (did you mean 'port'?)"),
        ("peers:\n  pbx:\n    host: x\n    prt:", "4:5: unknown key 'prt' (did you mean 'port'?)"),
        ("delay:", "1:7: 'delay' is empty (expected a time such as 20s, 500ms or 2m)"),
        ("delay: [4s]", "1:8: 'delay' is a list (expected a time such as 20s, 500ms or 2m)"),
        ("name: [a", "1:9: not YAML: expected ',' or ']', but got '<stream end>'"),
        (
            "name: @x",
            "1:7: not YAML: found character '@' that cannot start any token (put quotes around text that begins",
        ),
        ('name: "\\U99999999"', "1:10: a number is too large"),
        ("%YAML 2.0\n---\nname: x", "1:1: not YAML: found incompatible YAML document"),
        ("name: x\n\x07", "2:1: character \\x07 is not allowed here (remove it)"),
        ('name: "a\\0b"', "1:7: the text holds a NUL or half a surrogate pair (expected text)"),
        ('name: "\\ud800"', "1:7: the text holds a NUL or half a surrogate pair (expected text)"),
    ],
)
def test_each_problem_says_where_what_and_what_was_expected(text: str, expected: str) -> None:
    found = problems(text)
    assert any(problem.startswith(expected) for problem in found), found


def test_lines_are_counted_as_editors_count_them() -> None:
    assert problems("name: 'a\u2028b\x85c'\r\rratio: x\r\n")[0].startswith("3:8: 'ratio'")


def test_bytes_that_are_not_utf_8_are_refused_at_their_place() -> None:
    expected = ["2:8: byte 0xff is not UTF-8 text (save the file as UTF-8)"]
    assert problems(b"name: x\nfrom: \xc3\xa9\xff") == expected
    assert problems(b"\xef\xbb\xbfname: x\nfrom: \xc3\xa9\xff") == expected
    assert problems("name: x".encode("utf-16"))[0].startswith("1:1: byte 0x")


def test_all_problems_of_a_file_come_at_once_and_in_its_order() -> None:
    text = "nam: x\npeers:\n  a: {prt: 1}\n  a: {host: h}\nratio: fast\nratio: 1\nbackups: [{host: h, port: x}, y]\n"
    assert [problem.split(": ")[0] for problem in problems(text)] == [
        *("1:1", "3:6", "3:7", "4:3", "5:8", "6:1", "7:27", "7:31")
    ]


def test_a_missing_file_is_a_problem_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"none.yaml: cannot be read: No such file .*\(expected a readable file"
    ):
        load_yaml(tmp_path / "none.yaml")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Is a directory"):
        load_yaml(tmp_path)


# Bounds.


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("name: x # " + "x" * 100)
    with pytest.raises(ConfigurationError, match=r"is too large \(expected at most 100 bytes\)"):
        load_yaml(file, limits=YamlLimits(max_bytes=100))


def test_deep_nesting_is_refused() -> None:
    assert problems("[" * 200_000) == ["1:33: nested too deeply (expected at most 32 levels)"]


def test_depth_counts_through_aliases() -> None:
    chain = "\n".join(f"k{n}: &a{n} [*a{n - 1}]" if n else "k0: &a0 [x]" for n in range(40))
    assert "nested too deeply" in problems(chain)[0]


def test_alias_bombs_are_refused() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert problems("\n".join(levels)) == [
        "5:25: too many values (expected at most 50000; an alias counts as all it repeats)"
    ]


# Substitution and values from elsewhere.


def substituted(text: str) -> str:
    if text == "${missing}":
        raise WrongValue("names nothing", expected="expected a name")
    return text.replace("${secret}", "hunter2")


def test_substituted_text_is_used_and_never_shown() -> None:
    document = load_yaml("name: ${secret}\nratio: ${secret}\n", "f.yaml").with_texts(substituted)
    with pytest.raises(ConfigurationError) as caught:
        validate(Settings, document)
    assert str(caught.value) == "f.yaml:2:8: 'ratio' is '${secret}' (expected a number)"
    assert validate(Settings, document.without(("ratio",))).name == "hunter2"


def test_a_failed_substitution_is_a_problem_at_its_place() -> None:
    document = load_yaml("name: ${missing}\n", "f.yaml").with_texts(substituted)
    with pytest.raises(ConfigurationError, match=r"^f.yaml:1:7: names nothing \(expected a name\)$"):
        validate(Settings, document)


def test_a_value_from_elsewhere_takes_the_place_of_the_files() -> None:
    document = load_yaml("name: a\npeers: {pbx: {host: h}}\n", "f.yaml")
    document = document.with_value(("peers", "pbx", "port"), load_yaml("5080", "$PORT"))
    document = document.with_value(("name",), load_yaml("b", "$NAME"))
    read = validate(Settings, document.with_value(("peers", "new"), load_yaml("{host: n}", "$NEW")))
    assert (read.name, read.peers["pbx"].port, read.peers["new"].host) == ("b", 5080, "n")


def test_tables_that_lack_on_the_way_to_a_value_are_made() -> None:
    document = load_yaml("name: a\npeers: x\n", "f.yaml").with_value(("peers", "pbx", "host"), load_yaml("h", "$HOST"))
    assert validate(Settings, document).peers == {"pbx": Peer(host="h")}


def test_a_wrong_value_from_elsewhere_is_reported_there() -> None:
    document = load_yaml("peers: {pbx: {host: h, port: y}}\nname: []\n", "f.yaml")
    with pytest.raises(ConfigurationError) as caught:
        validate(Settings, document.with_value(("ratio",), load_yaml("x", "$RATIO")))
    assert [problem.file for problem in caught.value.problems] == ["f.yaml", "f.yaml", "$RATIO"]


# Going on without what is wrong.


def test_examine_leaves_out_the_entry_of_a_mistake_and_keeps_the_rest() -> None:
    text = "peers:\n  a: {host: h, port: x}\n  b: {host: h}\nbackups: [{host: 1}, {}, {host: 3}, {prt: 1}, {host: 5}]\n"
    examined = examine(Settings, load_yaml(text, "f.yaml"))
    assert examined.value is not None
    assert list(examined.value.peers) == ["b"]
    assert [peer.host for peer in examined.value.backups] == ["1", "3", "5"]
    assert examined.document.locate(("backups", 2)) == (4, 47)
    assert len(examined.problems) == 4


def test_examine_has_nothing_where_the_whole_is_wrong() -> None:
    assert examine(Settings, load_yaml("- a", "f.yaml")).value is None


# Words.


def test_hint_names_the_nearest_word_or_all() -> None:
    assert hint("Sales", ["sales", "support"]) == "did you mean 'sales'?"
    assert hint("zzz", ["sales", "support"]) == "expected one of sales, support"
    assert hint("zzz", ["sales"]) == "expected 'sales'"
    assert hint("zzz", []) == "there are none"
    assert hint("1.1", ["1.3", "1.2"]) == "expected 1.2 or 1.3"


def test_hint_takes_no_other_number_for_a_misspelt_one() -> None:
    lengths = ["20ms", "40ms", "60ms", "100ms", "auto"]
    assert hint("60", lengths) == "did you mean '60ms'?"
    assert hint("30ms", lengths) == "expected one of 20ms, 40ms, 60ms, 100ms, auto"


# Anything at all.


@given(st.text(alphabet=st.sampled_from("abn:-[]{}&*!|>'\"%@`,#?~ \t\n0.\\\x00é\ud800"), max_size=40))
def test_any_text_is_read_or_refused_with_a_place_inside(text: str) -> None:
    try:
        validate(Settings, load_yaml(text, "f.yaml"))
    except ConfigurationError as error:
        lines = text.split("\n")
        for problem in error.problems:
            assert 1 <= problem.line <= len(lines) + 1
            assert 1 <= problem.column <= max(map(len, lines)) + 1


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ConfigurationError):
        validate(Settings, load_yaml(data, "f.yaml"))
