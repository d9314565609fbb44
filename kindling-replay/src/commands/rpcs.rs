//! `rpcs`: the requests that were made, and how long they took.

use crate::{
    Outcome,
    analysis::rpc::{self, RpcFilter, Sort},
    cli::{CommonArgs, Format, UsageError},
    context::Context,
    model::catalog::Catalog,
    protocol, render,
    selection::parse_duration,
};

/// How many requests the text shows unless told otherwise.
const TEXT_ROWS: usize = 20;

/// What can be typed after `rpcs`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kindling-replay rpcs web.kndl
  kindling-replay rpcs web.kndl --slower 10ms --endpoint 'GET /api/*'
  kindling-replay rpcs web.kndl --errors --sort start --format json")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
    /// The order of the requests
    #[arg(long, value_enum, default_value = "latency")]
    pub sort: Sort,
    /// Only requests of this protocol: http, redis
    #[arg(long, value_name = "NAME")]
    pub protocol: Option<String>,
    /// Only requests for operations like this (`*` is any text, `?` any character)
    #[arg(long, value_name = "GLOB")]
    pub endpoint: Option<String>,
    /// Only requests that took, or waited, at least so long: 10ms, 1.5s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub slower: Option<i64>,
    /// Only requests that failed or were not answered
    #[arg(long)]
    pub errors: bool,
}

/// Runs `rpcs`.
///
/// # Errors
/// If the capture cannot be read or the answer not be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let filter = filter(args)?;
    let mut context = Context::open(&args.common, &[Format::Text, Format::Json])?;
    context.limit_text(TEXT_ROWS);
    let catalog = Catalog::load(&context);
    let report = rpc::report(&context, &catalog, &filter);
    let order = match filter.sort {
        Sort::Latency => "slowest",
        Sort::Start => "earliest",
    };
    context.answer("rpcs", &report, |out, report| {
        render::rpc::text(out, report, order)
    })
}

fn filter(args: &Args) -> Result<RpcFilter, UsageError> {
    let names: Vec<&str> = protocol::PROTOCOLS
        .iter()
        .map(|protocol| protocol.name())
        .collect();
    if let Some(name) = args
        .protocol
        .as_deref()
        .filter(|name| !names.contains(name))
    {
        let names = names.join(", ");
        return Err(UsageError(format!(
            "--protocol {name} is not known: choose one of {names}"
        )));
    }
    Ok(RpcFilter {
        protocol: args.protocol.clone(),
        endpoint: args.endpoint.clone(),
        slower_ns: args.slower,
        errors: args.errors,
        sort: args.sort,
    })
}

fn duration(text: &str) -> Result<i64, String> {
    parse_duration(text).ok_or_else(|| "expected a time with its unit: 10ms, 1.5s".to_owned())
}
