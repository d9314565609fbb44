//! `kindling-record`: eBPF in, one capture file out.
//!
//! A record travels kernel event → ring → [`drain`] → [`batch`] → [`encoder`] → file. [`session`]
//! wires the stages, [`probes`] owns the kernel side, and what will be gone later is resolved on the
//! way: names in [`lives`], descriptors in [`files`], code addresses in [`symbols`].

mod account;
mod batch;
mod bpf_cost;
mod cli;
mod clocks;
mod command;
mod config;
mod containers;
mod cost;
mod cpus;
mod doctor;
mod drain;
mod encoder;
mod events;
mod files;
mod flight;
mod go_program;
mod header;
mod host;
mod io_uring;
mod kernel_btf;
mod kernel_path;
mod limits;
mod lives;
mod logs;
mod mappings;
mod namer;
mod output;
mod part_writer;
mod parts;
mod privileges;
mod probes;
mod raw;
mod redact;
mod scheduling;
mod session;
mod skeleton;
mod sources;
mod spaces;
mod spec;
mod stack_ids;
mod symbols;
mod target;
mod tcp;
mod tls;
mod tls_library;
mod trigger;
mod unwind;
mod unwind_rules;
mod watches;

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use clap::Parser;
use kindling_format::FormatError;
use libbpf_rs::PrintLevel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use crate::{
    cli::{Cli, Command},
    config::RecordConfig,
    flight::FlightOutcome,
    session::{Outcome, Signals},
};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const INCOMPLETE: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::parse();
    libbpf_rs::set_print(None);
    let outcome = match &cli.command {
        Some(Command::Doctor { format, verbose }) => {
            if *verbose {
                libbpf_rs::set_print(Some((PrintLevel::Warn, |_, text| {
                    let _ = io::stderr().write_all(text.as_bytes());
                })));
            }
            doctor::run(*format, &mut io::stdout().lock()).map(|can_record| !can_record)
        }
        Some(Command::Dump { pid }) => ask_for_dump(*pid).map(|()| false),
        None => match RecordConfig::new(&cli.record) {
            Ok(config) => record(&config),
            Err(error) => {
                report(&error);
                return ExitCode::from(if error.is_failure() { FAILED } else { USAGE });
            }
        },
    };
    match outcome {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) if cli.command.is_some() => ExitCode::from(FAILED),
        Ok(true) => ExitCode::from(INCOMPLETE),
        Err(error) => {
            report(&format!("{error:#}"));
            if let Some(hint) = hint(&error, &cli) {
                let _ = writeln!(io::stderr(), "  {hint}");
            }
            ExitCode::from(FAILED)
        }
    }
}

/// Records and says what came of it; `true` if events were lost or not written.
fn record(config: &RecordConfig) -> anyhow::Result<bool> {
    let signals = Signals::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&signals.stop))?;
    }
    if config.flight.is_some() {
        signal_hook::flag::register(SIGUSR1, Arc::clone(&signals.dump))?;
    }
    let outcome = session::run(config, &signals)?;
    summarize(config, &outcome);
    Ok(!outcome.lost.is_empty() || outcome.full_ns.is_some())
}

fn summarize(config: &RecordConfig, outcome: &Outcome) {
    let mut err = io::stderr().lock();
    for source in &outcome.missing {
        let _ = writeln!(
            err,
            "kindling-record: without {}: {}",
            source.name, source.detail
        );
    }
    let place = match (outcome.parts, &outcome.flight) {
        (_, Some(flight)) => place_of_dumps(flight),
        (1, _) => config.destination.to_string(),
        (parts, _) => {
            let last = config.destination.part(parts - 1);
            format!("{parts} files up to {last}")
        }
    };
    let lost: Vec<String> = outcome
        .lost
        .iter()
        .map(|(table, count)| format!("{count} {table}"))
        .collect();
    let lost = if lost.is_empty() {
        "nothing lost".to_owned()
    } else {
        format!("LOST {}", lost.join(", "))
    };
    let _ = writeln!(
        err,
        "kindling-record: {:.1} s, {} events, {:.1} MB to {place}; {lost}",
        outcome.duration_ns as f64 / 1e9,
        outcome.records,
        outcome.size_bytes as f64 / 1e6,
    );
    if let Some(full_ns) = outcome.full_ns {
        let _ = writeln!(
            err,
            "kindling-record: the disk is full: events are recorded up to {:.1} s after the start",
            full_ns as f64 / 1e9
        );
    }
}

/// Where a flight recorder has written.
fn place_of_dumps(flight: &FlightOutcome) -> String {
    let mut place = match (&flight.last, flight.written) {
        (Some(last), 1) => last.display().to_string(),
        (Some(last), count) => format!("{count} dumps up to {}", last.display()),
        (None, _) => "no file: nothing asked for a dump".to_owned(),
    };
    if flight.suppressed > 0 {
        place += &format!(", {} triggers without one of their own", flight.suppressed);
    }
    place
}

/// Has a flight recorder write, and prints the file.
fn ask_for_dump(pid: Option<u32>) -> anyhow::Result<()> {
    let path = flight::control::ask(pid)?;
    writeln!(io::stdout(), "{}", path.display())?;
    Ok(())
}

fn report(error: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "kindling-record: {error}");
}

/// The next step, where there is one.
fn hint(error: &anyhow::Error, cli: &Cli) -> Option<String> {
    let io_error = error
        .chain()
        .find_map(|cause| match cause.downcast_ref::<FormatError>() {
            Some(FormatError::Io(error)) => Some(error),
            _ => cause.downcast_ref::<io::Error>(),
        })?;
    match io_error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(format!(
            "what was written before can be read: kindling-replay info {}",
            cli.record.output.display()
        )),
        io::ErrorKind::PermissionDenied => {
            Some("run as root, or write to a directory of yours".into())
        }
        _ => None,
    }
}
