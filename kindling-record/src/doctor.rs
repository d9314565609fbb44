//! What this host can record, source by source.

use std::{io::Write, path::Path};

use anyhow::Result;
use kindling_format::header::Source;

use crate::{
    cli::{Format, STACK_BYTES, units::Resolution},
    config::{Destination, RecordConfig},
    cpus::Cpus,
    limits::Limits,
    mappings::MappingSource,
    probes,
    sources::{MAPPINGS, Missing},
    target::{Chosen, Target},
};

/// Prints one line per source; `true` if a recording can be made.
///
/// # Errors
/// If the output cannot be written.
pub(crate) fn run(format: Format, out: &mut impl Write) -> Result<bool> {
    let cpus = Cpus::of_host();
    let checks = checks(&cpus);
    match format {
        Format::Text => {
            for check in &checks {
                let mark = if check.source.available {
                    "ok"
                } else {
                    "missing"
                };
                writeln!(
                    out,
                    "{:<11} {:<8} {}",
                    check.source.name, mark, check.source.detail
                )?;
            }
        }
        Format::Json => {
            let can_record = can_record(&checks);
            let sources: Vec<&Source> = checks.iter().map(|check| &check.source).collect();
            let report = serde_json::json!({ "can_record": can_record, "sources": sources });
            serde_json::to_writer_pretty(&mut *out, &report)?;
            writeln!(out)?;
        }
    }
    Ok(can_record(&checks))
}

struct Check {
    source: Source,
    required: bool,
}

fn can_record(checks: &[Check]) -> bool {
    checks
        .iter()
        .all(|check| check.source.available || !check.required)
}

fn checks(cpus: &Cpus) -> Vec<Check> {
    let mut checks = vec![btf()];
    let mut programs = probes::diagnose(&trial(), cpus);
    programs.sort_by_key(|(source, _)| !source.required);
    checks.extend(programs.into_iter().map(|(source, outcome)| Check {
        source: to_source(source.name, source.gives, outcome),
        required: source.required,
    }));
    checks.push(Check {
        source: mappings(cpus),
        required: false,
    });
    checks
}

/// The smallest recording, for trying.
fn trial() -> RecordConfig {
    RecordConfig {
        target: Target::Chosen(Chosen {
            comms: vec![String::new()],
            cgroup_ids: [0].into(),
            ..Chosen::default()
        }),
        destination: Destination::Stdout,
        duration: None,
        payload_bytes: 1024,
        tls: true,
        logs: Vec::new(),
        events: Vec::new(),
        limits: Limits::default(),
        redact: Vec::new(),
        user: None,
        sample_hz: 99,
        stack_bytes: STACK_BYTES,
        switch_stacks: true,
        resolution: Resolution::default(),
        buffer_bytes: 1 << 20,
        flush: std::time::Duration::from_secs(1),
        fsync: None,
        rotate: Vec::new(),
        keep: None,
        flight: None,
    }
}

fn btf() -> Check {
    let path = "/sys/kernel/btf/vmlinux";
    let outcome = if Path::new(path).exists() {
        Ok(())
    } else {
        Err(Missing {
            why: format!("{path} does not exist"),
            remedy: "this kernel was built without CONFIG_DEBUG_INFO_BTF; use one that has it"
                .into(),
        })
    };
    Check {
        source: to_source("btf", "the kernel's own types, for every program", outcome),
        required: true,
    }
}

fn mappings(cpus: &Cpus) -> Source {
    let outcome = MappingSource::open(&cpus.online).map(drop);
    let outcome = outcome.map_err(|error| {
        Missing::explain(&format!("perf_event_open: {error}"), error.raw_os_error())
    });
    to_source(MAPPINGS, "which code runs where, for symbols", outcome)
}

/// A source as the capture's header and `doctor` tell it.
pub(crate) fn to_source(name: &str, gives: &str, outcome: Result<(), Missing>) -> Source {
    let (available, detail) = match outcome {
        Ok(()) => (true, gives.to_owned()),
        Err(missing) => (false, missing.to_string()),
    };
    Source {
        name: name.to_owned(),
        available,
        detail,
    }
}
