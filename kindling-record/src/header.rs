//! What the capture says of its recording when it begins.

use clap::ValueEnum;
use kindling_format::{
    Header,
    header::{Moment, Options, Source},
};

use crate::{cli::Redact, config::RecordConfig, cpus::Cpus, host, redact};

fn redacted(config: &RecordConfig) -> Vec<String> {
    let word = |what: &Redact| Some(what.to_possible_value()?.get_name().to_owned());
    config.redact.iter().filter_map(word).collect()
}

/// The header of a recording as `config` says.
pub(crate) fn header(
    config: &RecordConfig,
    cpus: &Cpus,
    start: Moment,
    sources: Vec<Source>,
) -> Header {
    let mut chosen = config.target.chosen().cloned().unwrap_or_default();
    if config.hides(Redact::Args) {
        redact::hide_args(&mut chosen.command);
    }
    let text = |path: &std::path::PathBuf| path.display().to_string();
    Header {
        tool: concat!("kindling-record ", env!("CARGO_PKG_VERSION")).to_owned(),
        host: host::describe(cpus),
        start,
        options: Options {
            target: config.target.words(),
            command: chosen.command,
            pids: chosen.pids.into_iter().collect(),
            comms: chosen.comms,
            cgroups: chosen.cgroups.iter().map(text).collect(),
            containers: chosen.containers,
            payload_bytes: config.payload_bytes,
            redacted: redacted(config),
            logs: config.logs.iter().map(|log| log.text.clone()).collect(),
            sample_hz: config.sample_hz,
            flush_interval_ns: config.flush.as_nanos() as i64,
            resolution_ns: config.resolution.ns(),
        },
        sources,
        ..Header::default()
    }
}

/// The header of a recording that becomes several captures: its name is unique on the host, and by
/// the boot on others.
pub(crate) fn of_pieces(header: Header) -> Header {
    let boot = header.host.boot_id.split('-').next().unwrap_or_default();
    let start_ns = header.start.monotonic_ns;
    Header {
        recording: format!("{boot}-{start_ns}-{}", std::process::id()),
        ..header
    }
}
