"""Enrolling from CSV files."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from distrib.brands.service import BrandNotFound
from distrib.brands.tables import Brand
from distrib.db import Database
from distrib.errors import InvalidInput
from distrib.tree import csv_import, queries
from distrib.tree.csv_import import ImportReport, import_distributors
from tests import factories
from tests.tree.helpers import day, enrol, enrol_all, errors, findings, move, together, upline

Importer = Callable[..., ImportReport]


@pytest.fixture
def rejects(tmp_path: Path) -> Path:
    return tmp_path / "rejects.csv"


@pytest.fixture
def load(db: Database, brand: Brand, rejects: Path) -> Importer:
    """Import text, or bytes, and check what holds of every report."""

    def run(content: str | bytes, **options: Any) -> ImportReport:
        raw = content.encode() if isinstance(content, str) else content
        report = import_distributors(
            db, brand_id=brand.id, source=io.BytesIO(raw), rejects_path=rejects, **options
        )
        assert report.accepted + report.unchanged + report.rejected == report.read
        assert rejects.exists() == bool(report.rejected)
        assert not findings(db, brand)
        return report

    return run


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return (report.read, report.accepted, report.unchanged, report.rejected)


def reasons(rejects: Path) -> dict[int, str]:
    with rejects.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as file:
        return {int(row["line"]): row["reason"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("chunk", [7, 20_000])
def test_rows_may_stand_in_any_order(
    db: Database, brand: Brand, load: Importer, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(csv_import, "_CHUNK", chunk)
    names = [f"n{i}" for i in range(300)]
    lines = [f"{name},{name.upper()},{names[i // 3] if i else ''}" for i, name in enumerate(names)]
    lines[1] = "n1,N1,n0"
    random.Random(7).shuffle(lines)
    content = "external_id,name,sponsor\n" + "\n".join(lines)
    assert counts(load(content)) == (300, 300, 0, 0)
    assert upline(db, brand, "n299", datetime.now(UTC)) == "n99n33n11n3n1n0"
    assert counts(load(content)) == (300, 0, 300, 0)
    with db.transaction() as session:
        found = queries.get_distributor(session, brand_id=brand.id, external_id="n299")
    assert (found.name, found.status) == ("N299", "active")


def test_all_columns(db: Database, brand: Brand, load: Importer) -> None:
    content = (
        "Joined_At, CODE ,name,sponsor,external_id\r\n"
        "2025-03-01T08:00:00+08:00,bee, 王小明 ,A,B\r\n"
        '2025-03-01,,"Smith, ""Ann""",,A\r\n'
    )
    assert counts(load(content.encode("utf-8-sig"))) == (2, 2, 0, 0)
    with db.transaction() as session:
        ann = queries.get_distributor(session, brand_id=brand.id, external_id="A")
        ming = queries.get_distributor(session, brand_id=brand.id, code="bee")
    assert ann.name == 'Smith, "Ann"'
    assert ann.joined_at == datetime(2025, 2, 28, 16, tzinfo=UTC)  # midnight in Shanghai
    assert (ming.name, ming.joined_at) == ("王小明", datetime(2025, 3, 1, tzinfo=UTC))


@pytest.mark.parametrize("length", [1, 2, 3, 50])
def test_circles_are_rejected_with_all_below_them(
    db: Database, brand: Brand, load: Importer, rejects: Path, length: int
) -> None:
    circle = [f"c{i},c,c{(i + 1) % length}" for i in range(length)]
    lines = [*circle, "below,b,c0", "lower,l,below", "root,r,", "fine,f,root"]
    random.Random(length).shuffle(lines)
    content = "external_id,name,sponsor\n" + "\n".join(lines)
    assert counts(load(content)) == (length + 4, 2, 0, length + 2)
    found = reasons(rejects)
    line_of = {line.split(",")[0]: number for number, line in enumerate(lines, 2)}
    for i in range(length):
        expected = "names itself" if length == 1 else "the sponsors run in a circle: c"
        assert expected in found[line_of[f"c{i}"]]
    assert found[line_of["below"]] == f"the sponsor c0 was rejected (line {line_of['c0']})"
    assert found[line_of["lower"]] == f"the sponsor below was rejected (line {line_of['below']})"
    assert counts(load(content)) == (length + 4, 0, 2, length + 2)


def test_a_deep_chain_upside_down(db: Database, brand: Brand, load: Importer) -> None:
    depth = 1_500
    lines = [f"n{i},n,{f'n{i - 1}' if i else ''}" for i in range(depth)][::-1]
    content = "external_id,name,sponsor\n" + "\n".join(lines)
    assert counts(load(content)) == (depth, depth, 0, 0)
    with db.transaction() as session:
        last = queries.get_distributor(session, brand_id=brand.id, external_id=f"n{depth - 1}")
        members = queries.upline_at(
            session, brand_id=brand.id, distributor_id=last.id, at=last.joined_at
        )
    assert [each.external_id for each in members] == [f"n{i}" for i in range(depth - 1)][::-1]


def test_sponsors_of_the_database_of_other_brands_and_of_nowhere(
    db: Database, brand: Brand, load: Importer, rejects: Path
) -> None:
    enrol_all(db, brand, "A")
    enrol(db, factories.brand(db), "theirs")
    report = load("external_id,name,sponsor\nB,b,A\nC,c,theirs\nD,d,nobody\nE,e,D\n")
    assert counts(report) == (4, 1, 0, 3)
    assert reasons(rejects) == {
        3: "there is no distributor theirs in this brand",
        4: "there is no distributor nobody in this brand",
        5: "the sponsor D was rejected (line 4)",
    }


def test_what_is_recorded_is_not_overwritten(
    db: Database, brand: Brand, load: Importer, rejects: Path
) -> None:
    enrol_all(db, brand, "A X A>B A>C A>D A>E")
    move(db, brand, "E", "X", at=day(3))
    content = (
        "external_id,name,sponsor,code,joined_at\n"
        "B,B,A,,\n"
        "C,other,A,,\n"
        "D,D,X,,\n"
        "E,E,A,,2025-01-01T00:00Z\n"
        "E,E,X,,2025-01-01T08:00\n"
        "E,E,X,mine,\n"
        "F,F,D,,\n"
    )
    assert counts(load(content)) == (7, 1, 3, 3)
    found = reasons(rejects)
    assert found[3] == "C is enrolled with name C, not other"
    assert found[4] == "D is enrolled under A, not X; a move changes it"
    assert "E is enrolled with code" in found[7]
    assert upline(db, brand, "F", datetime.now(UTC)) == "DA"


def test_repeats(db: Database, brand: Brand, load: Importer, rejects: Path) -> None:
    content = "external_id,name,sponsor\nB,b,A\nA,a,\nB,b,A\nA,a,\nA,a2,\nB,b,\n"
    assert counts(load(content)) == (6, 2, 2, 2)
    assert set(reasons(rejects)) == {6, 7}
    assert counts(load(content)) == (6, 0, 4, 2)


def test_codes_are_unique(db: Database, brand: Brand, load: Importer, rejects: Path) -> None:
    enrol(db, brand, "A", code="a")
    enrol(db, factories.brand(db), "theirs", code="b")
    content = "external_id,name,code\nA,A,a\nB,b,a\nC,c,b\nD,d,b\n"
    assert counts(load(content)) == (4, 1, 1, 2)
    assert reasons(rejects) == {
        3: "another distributor has the code a",
        5: "line 4 has the code b too",
    }


@pytest.mark.parametrize(
    "row, reason",
    [
        ("B", "has 1 columns, the header has 5"),
        ("B,b,,,,", "has 6 columns, the header has 5"),
        (",b,,,", "external_id is empty"),
        ("B,,,,", "name is empty"),
        ("  ,b,,,", "external_id is empty"),
        (",,,,", "external_id is empty"),
        (f"{'x' * 201},b,,,", "external_id has 201 letters"),
        (f"B,{'长' * 201},,,", "name has 201 letters"),
        ('B,"b\nb",,,', "name has a letter that cannot be kept: '\\n'"),
        ("B,b\0,,,", "name has a letter that cannot be kept: '\\x00'"),
        ("B,b,A\0,,", "sponsor has a letter"),
        ("B,b,B,,", "B names itself as sponsor"),
        ("B,b,,two words,", "a code is 1 to 64 of"),
        ("B,b,,é,", "a code is 1 to 64 of"),
        ("B,b,,,yesterday", "joined_at is no day"),
        ("B,b,,,01/02/2025", "joined_at is no day"),
        ("B,b,,,2025-02-30", "joined_at is no day"),
        ("B,b,,,2999-01-01", "joined_at is in the future"),
        ("B,b,,,1969-12-31", "joined_at is before 1970"),
        ("B,b,,,0001-01-01", "joined_at is no day of our time"),
        ("B,b,,,9999-12-31T23:59:59-08:00", "joined_at is no day of our time"),
        ("B,b,A,,2024-12-31", "joined_at is 2024-12-30T16:00:00+00:00, the sponsor joined later"),
    ],
)
def test_rows_that_cannot_be_read_are_rejected(
    db: Database, brand: Brand, load: Importer, rejects: Path, *, row: str, reason: str
) -> None:
    enrol(db, brand, "A", joined_at=day(0))
    content = f"external_id,name,sponsor,code,joined_at\nfirst,f,,,\n{row}\nlast,l,,,\n\n"
    assert counts(load(content)) == (3, 2, 0, 1)
    found = reasons(rejects)
    assert list(found) == [3]
    assert found[3].startswith(reason)


def test_bytes_that_are_no_utf8_are_rejected_and_given_back(
    db: Database, brand: Brand, load: Importer, rejects: Path
) -> None:
    row = "张伟".encode("gb18030")
    content = b"external_id,name\nA,a\nB," + row + b"\nC,\xe5\xbc\xa0\n"
    assert counts(load(content)) == (3, 2, 0, 1)
    assert reasons(rejects)[3] == "name is no UTF-8"
    assert row in rejects.read_bytes()


@pytest.mark.parametrize(
    "content, field, words",
    [
        (b"", "header", "no column 'external_id'; it reads: nothing"),
        (b"\n\n", "header", "no column 'external_id'"),
        (b"A,Ann\nB,Bo\n", "header", "no column 'external_id'; it reads: a, ann"),
        (b"external_id,nom\nA,Ann\n", "header", "no column 'name'"),
        (b"external_id;name\nA;Ann\n", "header", "no column 'external_id'"),
        (b"external_id,name,sponser\nA,Ann,\n", "header", "unknown column 'sponser'"),
        (b"external_id,name,\nA,Ann,\n", "header", "unknown column ''"),
        (b"external_id,name,name\nA,Ann,\n", "header", "'name' twice"),
        ("external_id,name\nA,Ann\n".encode("utf-16"), "header", "save the file as CSV UTF-8"),
        ("编号,name\nA,Ann\n".encode("gb18030"), "header", "save the file as CSV UTF-8"),
        (b"external_id,name\nA,Ann\nB," + b'"x' * 140_000, "file", "line 3: field larger"),
    ],
)
def test_a_file_that_cannot_be_read_enrols_nobody(
    db: Database, brand: Brand, load: Importer, *, content: bytes, field: str, words: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        load(content)
    assert refused.value.field == field
    assert words in refused.value.detail
    refused.value.detail.encode()
    with db.transaction() as session:
        assert not queries.list_distributors(session, brand_id=brand.id).distributors


def test_a_file_of_nobody(load: Importer) -> None:
    assert counts(load("external_id,name\n")) == (0, 0, 0, 0)


def test_line_numbers_count_lines_not_rows(load: Importer, rejects: Path) -> None:
    load('external_id,name\n\n"A",a\n"B","b\nb\nb"\nC,\nD,d\n,\n')
    assert sorted(reasons(rejects)) == [4, 7, 9]


def test_a_corrected_rejects_file_can_be_imported_as_it_is(load: Importer, rejects: Path) -> None:
    load("external_id,name,sponsor\nB,b,A\nC,,\nD,d,C\n")
    corrected = rejects.read_text("utf-8-sig").replace("B,b,A", "B,b,").replace("C,,", "C,c,")
    assert counts(load(corrected)) == (3, 3, 0, 0)
    load("line,reason,external_id,name\n7,why,E,\n")
    assert rejects.read_text("utf-8-sig").splitlines() == [
        "line,reason,external_id,name",
        "2,name is empty,E,",
    ]


def test_paths(db: Database, brand: Brand, tmp_path: Path, rejects: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("external_id,name\nA,a\nB,\n")
    with pytest.raises(InvalidInput, match="overwrite"):
        import_distributors(db, brand_id=brand.id, source=source, rejects_path=source)
    with pytest.raises(InvalidInput, match="No such file"):
        import_distributors(db, brand_id=brand.id, source=tmp_path / "none.csv")
    with pytest.raises(BrandNotFound):
        import_distributors(db, brand_id=1, source=source)
    with pytest.raises(InvalidInput, match="No such file"):  # and nobody is enrolled
        import_distributors(
            db, brand_id=brand.id, source=source, rejects_path=tmp_path / "no" / "r.csv"
        )
    steps: list[tuple[str, int]] = []
    report = import_distributors(
        db, brand_id=brand.id, source=source, progress=lambda *step: steps.append(step)
    )
    assert counts(report) == (2, 1, 0, 1)
    assert steps == [("read", 2), ("written", 1)]
    assert not rejects.exists()


def test_a_stream_stays_open(db: Database, brand: Brand) -> None:
    stream = io.BytesIO(b"external_id,name\nA,a\n")
    import_distributors(db, brand_id=brand.id, source=stream)
    assert stream.tell() == len(stream.getvalue())


@pytest.mark.races
def test_imports_at_once_enrol_everybody_once(db: Database, brand: Brand) -> None:
    lines = [f"n{i},n,{f'n{i // 2}' if i else ''}" for i in range(1, 400)] + ["n0,n,"]
    random.Random(3).shuffle(lines)
    contents = []
    for shift in range(4):
        shifted = lines[shift * 100 :] + lines[: shift * 100]
        contents.append(("external_id,name,sponsor\n" + "\n".join(shifted)).encode())

    def work(content: bytes) -> Callable[[], ImportReport]:
        return lambda: import_distributors(db, brand_id=brand.id, source=io.BytesIO(content))

    reports = together(*map(work, contents))
    assert not errors(reports)
    found = [report for report in reports if isinstance(report, ImportReport)]
    assert sum(report.accepted for report in found) == 400
    assert sum(report.unchanged for report in found) == 1200
    assert not findings(db, brand)


@pytest.mark.races
def test_an_import_that_always_comes_second_gives_up_in_words(
    db: Database, brand: Brand, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = csv_import._decide

    def overtaken(*args: Any) -> Any:
        decision = decide(*args)
        number = 0 if not decision[0].enrolled else len(decision[0].enrolled)
        enrol(db, brand, f"n{number}")  # the last of those that are left
        return decision

    monkeypatch.setattr(csv_import, "_decide", overtaken)
    content = "external_id,name\n" + "\n".join(f"n{i},n{i}" for i in range(1, 40))
    with pytest.raises(csv_import.ImportCollided) as refused:
        import_distributors(db, brand_id=brand.id, source=io.BytesIO(content.encode()))
    assert refused.value.status == 409
