"""Workbooks of Excel, made by hand: as small as they may be, and as strange."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from xml.sax.saxutils import escape

EPOCH = datetime(1899, 12, 30, tzinfo=UTC).replace(tzinfo=None)
DATE, MOMENT, TIME, DURATION = 1, 2, 3, 4
TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels"'
    ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    '<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-'
    'officedocument.spreadsheetml.sheet.main+xml"/></Types>'
)
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = (
    f'<Relationships xmlns="{PACKAGE}"><Relationship Id="rId1"'
    f' Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
)
STYLES = (
    f'<styleSheet xmlns="{MAIN}"><numFmts count="1"><numFmt numFmtId="164" formatCode="[h]:mm:ss"/>'
    '</numFmts><cellXfs count="5"><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="22"/>'
    '<xf numFmtId="21"/><xf numFmtId="164"/></cellXfs></styleSheet>'
)


CORNERS = (
    f'<worksheet xmlns="{MAIN}"><sheetData><row r="1"><c r="A1"><v>1</v></c></row>'
    '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData></worksheet>'
)
"""Two cells of a sheet that has 17 billion."""


def letters(column: int) -> str:
    """Return what Excel calls a column, counted from 0."""
    text = ""
    while column >= 0:
        text, column = chr(65 + column % 26) + text, column // 26 - 1
    return text


def cell(value: Any, at: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f'<c r="{at}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, str) and value.startswith("#"):
        return f'<c r="{at}" t="e"><v>{value}</v></c>'
    if isinstance(value, str):
        text = escape(value)
        return f'<c r="{at}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
    style = 0
    if isinstance(value, datetime):
        value, style = (value - EPOCH) / timedelta(days=1), MOMENT
    elif isinstance(value, date):
        value, style = (datetime.combine(value, time()) - EPOCH).days, DATE
    elif isinstance(value, time):
        seconds = value.hour * 3600 + value.minute * 60 + value.second
        value, style = seconds / 86_400, TIME
    elif isinstance(value, timedelta):
        value, style = value / timedelta(days=1), DURATION
    return f'<c r="{at}" s="{style}"><v>{value!r}</v></c>'


def sheet_xml(rows: Mapping[int, Sequence[Any]]) -> str:
    body = "".join(
        f'<row r="{number}">'
        + "".join(cell(value, f"{letters(n)}{number}") for n, value in enumerate(row))
        + "</row>"
        for number, row in rows.items()
    )
    return f'<worksheet xmlns="{MAIN}"><sheetData>{body}</sheetData></worksheet>'


def workbook(sheets: Mapping[str, Any], more: Mapping[str, bytes] | None = None) -> bytes:
    """Return a workbook.

    Args:
        sheets: by name, the rows of each from the first on, or its XML, text or bytes.
        more: other entries of the zip.
    """
    names = list(sheets)
    listed = "".join(
        f'<sheet name="{escape(name)}" sheetId="{n}" r:id="rId{n}"/>'
        for n, name in enumerate(names, start=1)
    )
    related = "".join(
        f'<Relationship Id="rId{n}" Type="{OFFICE}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, len(names) + 1)
    )
    related += f'<Relationship Id="rId99" Type="{OFFICE}/styles" Target="styles.xml"/>'
    parts: dict[str, str | bytes] = {
        "[Content_Types].xml": TYPES,
        "_rels/.rels": RELATIONS,
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}">'
        f"<sheets>{listed}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}">{related}</Relationships>',
        "xl/styles.xml": STYLES,
    }
    for number, name in enumerate(names, start=1):
        rows = sheets[name]
        xml = rows if isinstance(rows, str | bytes) else sheet_xml(dict(enumerate(rows, start=1)))
        parts[f"xl/worksheets/sheet{number}.xml"] = xml
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in {**parts, **(more or {})}.items():
            archive.writestr(path, content)
    return target.getvalue()
