//! The command line: what can be typed. Commands check it when they run.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{
    Args, Parser, ValueEnum,
    builder::{StringValueParser, TypedValueParser},
    error::ErrorKind,
};

use crate::{
    commands::Command,
    filter::{self, Filter},
    selection::TimeSpec,
};

/// Replay a Kindling capture: what every thread did, on any machine, without root.
#[derive(Debug, Parser)]
#[command(name = "kindling-replay", version, max_term_width = 100)]
#[command(after_help = "\
Examples:
  kindling-replay info web.kndl
  kindling-replay threads web.kndl --comm 'nginx*'
  kindling-replay flame web.kndl -o web.svg
  kindling-replay events web.kndl --from 1.5s --to 1.6s --pid 4711

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but data was missing")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// The capture
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
    /// Use N worker threads [default: all cores]; the answer does not depend on it
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// Say on standard error what was read of the capture, and what that took
    #[arg(long)]
    pub stats: bool,
}

/// Which part of the capture a command looks at.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct SelectionArgs {
    /// Look from this moment on: since the start (`1.5s`, `200ms`), or wall time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub from: Option<TimeSpec>,
    /// Look up to this moment
    #[arg(long, value_name = "TIME")]
    pub to: Option<TimeSpec>,
    /// Only these processes
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,
    /// Only these threads
    #[arg(long, value_name = "TID", value_delimiter = ',')]
    pub tid: Vec<u32>,
    /// Only threads that had a name like this (`*` is any text, `?` any character)
    #[arg(long, value_name = "GLOB")]
    pub comm: Option<String>,
    /// Only processes of the container with this id, or a beginning of it
    #[arg(long, value_name = "ID")]
    pub container: Option<String>,
    /// Only events for which this holds, as `dur > 10ms and net.peer.port == 6379`; of commands
    /// that show whole threads, those that have one. `--where help` lists the fields
    #[arg(long = "where", value_name = "EXPR", value_parser = FilterParser)]
    pub filter: Option<Filter>,
}

impl SelectionArgs {
    /// The options that were typed: those that choose a time or events, and those that choose threads.
    fn typed(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let Self {
            from,
            to,
            pid,
            tid,
            comm,
            container,
            filter,
        } = self;
        let typed = |options: &[(&'static str, bool)]| {
            let typed = options.iter().filter(|(_, is_typed)| *is_typed);
            typed.map(|(option, _)| *option).collect()
        };
        let of_events = [
            ("--from", from.is_some()),
            ("--to", to.is_some()),
            ("--where", filter.is_some()),
        ];
        let of_threads = [
            ("--pid", !pid.is_empty()),
            ("--tid", !tid.is_empty()),
            ("--comm", comm.is_some()),
            ("--container", container.is_some()),
        ];
        (typed(&of_events), typed(&of_threads))
    }
}

/// Options of all commands that one of them has no use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unused {
    /// Those that select a time or events.
    Events,
    /// Those that select threads.
    Threads,
    /// `--format`
    Format,
    /// `--top`
    Top,
    /// `--stats`
    Stats,
}

impl Unused {
    /// All that select a part of the capture.
    pub const SELECTION: [Unused; 2] = [Unused::Events, Unused::Threads];
}

impl CommonArgs {
    /// Refuses options that would be ignored; `why` says what the command does instead.
    ///
    /// # Errors
    /// If one of them was typed.
    pub fn refuse(&self, unused: &[Unused], why: &str) -> Result<(), UsageError> {
        let (of_events, of_threads) = self.selection.typed();
        let typed = unused.iter().find_map(|unused| match unused {
            Unused::Events => of_events.first().copied(),
            Unused::Threads => of_threads.first().copied(),
            Unused::Format => self.output.format.map(|_| "--format"),
            Unused::Top => self.output.top.map(|_| "--top"),
            Unused::Stats => self.stats.then_some("--stats"),
        });
        typed.map_or(Ok(()), |option| {
            Err(UsageError(format!("{option} has no effect here: {why}")))
        })
    }
}

/// How and where the answer is written.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// The answer's format [default: by the ending of -o, else what suits the command]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Write to FILE instead of standard output; it appears only when it is whole
    #[arg(short, long = "output", value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Show at most N rows; totals count them all
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
}

/// A format of answers. Not every command has every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For reading
    Text,
    /// One JSON object
    Json,
    /// A picture
    Svg,
    /// A graph for Graphviz
    Dot,
    /// One line per stack, for flame graph tools
    Folded,
}

impl Format {
    /// The format that a file name asks for.
    pub fn of_path(path: &std::path::Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "txt" => Some(Self::Text),
            "json" => Some(Self::Json),
            "svg" => Some(Self::Svg),
            "dot" | "gv" => Some(Self::Dot),
            "folded" => Some(Self::Folded),
            _ => None,
        }
    }

    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Svg => "svg",
            Self::Dot => "dot",
            Self::Folded => "folded",
        }
    }
}

/// Reads the condition of `--where`; `help` stands for the list of fields.
#[derive(Debug, Clone)]
struct FilterParser;

impl TypedValueParser for FilterParser {
    type Value = Filter;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Filter, clap::Error> {
        let text = StringValueParser::new().parse_ref(command, arg, value)?;
        if text == "help" {
            return Err(clap::Error::raw(ErrorKind::DisplayHelp, filter::help()));
        }
        let error = |error| clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n"));
        Filter::parse(&text).map_err(error)
    }
}

/// What was typed makes no sense together: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn clap_accepts_the_definition() {
        Cli::command().debug_assert();
    }

    #[test]
    fn selection_options_are_read() {
        let typed = "kindling-replay threads a.kndl --from 1.5s --pid 1,2 --pid 3 --jobs 4 --top 0";
        let cli = Cli::try_parse_from(typed.split(' ')).unwrap();
        let common = cli.command.common();
        assert_eq!(common.selection.pid, [1, 2, 3]);
        assert_eq!(common.selection.from, Some(TimeSpec::Offset(1_500_000_000)));
        assert_eq!(common.output.top, Some(0));
        assert!(Cli::try_parse_from("kindling-replay info a.kndl --jobs 0".split(' ')).is_err());
        assert!(Cli::try_parse_from("kindling-replay info a.kndl --from soon".split(' ')).is_err());
    }
}
