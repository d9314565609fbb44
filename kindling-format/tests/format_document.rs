//! docs/FORMAT.md lists the very tables of the schema. `UPDATE_FORMAT_MD=1` rewrites its lists.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{fmt::Write, fs, path::PathBuf};

use arrow::datatypes::DataType;
use kindling_format::{
    column::EnumColumn,
    schema::{
        self, BlockOperation, ColumnSpec, Direction, Encoding, FileKind, Index, IoUringKind, Mode,
        Table, TableSpec, TcpKind, TcpState,
    },
};

#[test]
fn the_document_lists_the_tables_of_the_schema() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/FORMAT.md");
    let document = fs::read_to_string(&path).unwrap();
    let mut expected = document.clone();
    replace(&mut expected, "tables", &tables());
    replace(&mut expected, "words", &words());
    replace(&mut expected, "index", &columns(&Index::specs()));
    if std::env::var_os("UPDATE_FORMAT_MD").is_some() {
        fs::write(&path, expected).unwrap();
        return;
    }
    for (number, (found, expected)) in document.lines().zip(expected.lines()).enumerate() {
        assert_eq!(
            found,
            expected,
            "docs/FORMAT.md:{}: UPDATE_FORMAT_MD=1 cargo test -p kindling-format brings it up to date",
            number + 1
        );
    }
    assert_eq!(document, expected);
}

fn replace(document: &mut String, part: &str, text: &str) {
    let begin = document.find(&format!("<!-- begin of the {part}")).unwrap();
    let begin = begin + document[begin..].find("-->\n").unwrap() + 4;
    let end = document.find(&format!("<!-- end of the {part}")).unwrap();
    document.replace_range(begin..end, &format!("\n{}\n\n", text.trim()));
}

fn tables() -> String {
    let mut out = String::new();
    for TableSpec {
        name,
        sort,
        meaning,
        columns: specs,
    } in schema::tables()
    {
        let sort = sort
            .iter()
            .map(|key| format!("`{key}`"))
            .collect::<Vec<_>>()
            .join(", ");
        write!(out, "### {name}\n\n{meaning}\n\nSorted by {sort}.\n\n").unwrap();
        writeln!(out, "{}", columns(&specs)).unwrap();
    }
    out
}

fn columns(specs: &[ColumnSpec]) -> String {
    let mut out = "| column | type | encoding | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for ColumnSpec {
        name,
        data_type,
        nullable,
        encoding,
        meaning,
    } in specs
    {
        let null = if *nullable { ", null" } else { "" };
        let data_type = type_name(data_type);
        let encoding = match encoding {
            Encoding::Dict => "dict",
            Encoding::Delta => "delta",
            Encoding::Split => "split",
            Encoding::Plain => "plain",
        };
        let meaning = meaning.replace('|', "\\|");
        writeln!(
            out,
            "| `{name}` | {data_type}{null} | {encoding} | {meaning} |"
        )
        .unwrap();
    }
    out
}

fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::UInt8 => "u8".into(),
        DataType::UInt16 => "u16".into(),
        DataType::UInt32 => "u32".into(),
        DataType::UInt64 => "u64".into(),
        DataType::Int32 => "i32".into(),
        DataType::Int64 => "i64".into(),
        DataType::Boolean => "bool".into(),
        DataType::Utf8 => "string".into(),
        DataType::Binary => "bytes".into(),
        DataType::Dictionary(_, _) => "word".into(),
        DataType::List(item) => format!("list of {}", type_name(item.data_type())),
        other => panic!("docs/FORMAT.md has no name for {other}"),
    }
}

fn words() -> String {
    fn row<T: EnumColumn>(column: &str) -> String {
        let words: Vec<String> = T::WORDS
            .iter()
            .map(|(word, _)| format!("`{word}`"))
            .collect();
        format!("| {column} | {} |\n", words.join(", "))
    }
    [
        "| column | words |\n| --- | --- |\n".to_owned(),
        row::<Direction>("`payloads.direction`"),
        row::<FileKind>("`files.kind`"),
        row::<Mode>("`samples.mode`"),
        row::<IoUringKind>("`io_uring.kind`"),
        row::<TcpKind>("`tcp.kind`"),
        row::<Direction>("`tcp.direction`"),
        row::<TcpState>("`tcp.old_state`, `tcp.state`"),
        row::<BlockOperation>("`block.operation`"),
    ]
    .concat()
}
