//! `docs/FILTERS.md` lists the fields that there are. `UPDATE_FILTERS_MD=1` writes them into it.

#![allow(clippy::unwrap_used)]

use std::path::Path;

const BEGIN: &str = "kindling-replay/src/filter/field.rs -->\n\n";
const END: &str = "\n<!-- end of the fields -->";

#[test]
fn the_document_lists_the_fields() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/FILTERS.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let begin = document.find(BEGIN).unwrap() + BEGIN.len();
    let end = document.find(END).unwrap();
    let fields = kindling_replay::filter::markdown();
    if std::env::var_os("UPDATE_FILTERS_MD").is_some() {
        let updated = format!("{}{fields}{}", &document[..begin], &document[end..]);
        std::fs::write(&path, updated).unwrap();
    } else {
        assert_eq!(
            &document[begin..end],
            fields,
            "UPDATE_FILTERS_MD=1 writes it"
        );
    }
}
