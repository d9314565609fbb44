//! The list of fields, for the terminal and for `docs/FILTERS.md`.

use std::fmt::Write as _;

use super::field::{EventKind, FIELDS, FieldSpec};

/// What `--where help` prints.
pub fn help() -> String {
    let mut text = String::from(
        "\
A condition tests fields of events, and joins tests with and, or, not (&& || !) and parentheses:

  dur > 10ms and file.path glob \"/var/lib/*\"       == != < <= > >= with units: us ms s, KiB MiB
  errno in (EAGAIN, EINTR) or ret in (1..100)      one of several, or of a range
  thread.comm contains nginx                       a part of a text; glob: the whole, with * and ?
  payload.data matches \"^GET /api/v[12]\"           a regular expression
  net.peer.port and not file.path exists           whether the event has the field

A field that an event does not have passes no test, `!=` included. docs/FILTERS.md says what a condition
means for each command.

",
    );
    let width = FIELDS.iter().map(|spec| spec.name.len()).max().unwrap_or(0);
    for spec in FIELDS {
        let _ = writeln!(
            text,
            "{:<width$}  {:<8}  {}",
            spec.name,
            spec.type_name(),
            meaning(spec)
        );
    }
    text
}

/// The table of fields in Markdown.
pub fn markdown() -> String {
    let mut text = String::from("| field | type | of | meaning |\n| --- | --- | --- | --- |\n");
    for spec in FIELDS {
        let of = match spec.of == EventKind::ALL {
            true => "all".to_owned(),
            false => {
                let kinds: Vec<&str> = spec.of.iter().map(|kind| kind.word()).collect();
                kinds.join(", ")
            }
        };
        let name = spec.name;
        let _ = writeln!(
            text,
            "| `{name}` | {} | {of} | {} |",
            spec.type_name(),
            meaning(spec)
        );
    }
    text
}

fn meaning(spec: &FieldSpec) -> String {
    match spec.words().as_slice() {
        [] | ["true", "false"] => spec.meaning.to_owned(),
        words => format!("{}: {}", spec.meaning, words.join(", ")),
    }
}
