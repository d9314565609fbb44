//! `rpc ID`: one request taken apart.

use anyhow::bail;

use crate::{
    Outcome,
    analysis::{
        rpc::{self, Described},
        rpc_breakdown,
        rpc_call::Calls,
    },
    cli::{CommonArgs, Format, Unused, UsageError},
    context::Context,
    model::{catalog::Catalog, stack::Stacks},
    render,
};

/// What can be typed after `rpc`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kindling-replay rpcs web.kndl --slower 10ms
  kindling-replay rpc web.kndl r1742
  kindling-replay rpc web.kndl r1742 --format json")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
    /// The request, as `rpcs` names it; `slowest` for the slowest one
    #[arg(value_name = "ID")]
    pub id: String,
}

/// Runs `rpc`.
///
/// # Errors
/// If the capture cannot be read, has no such request, or the answer cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    refuse_selection(&args.id, &args.common)?;
    args.common
        .refuse(&[Unused::Top], "rpc shows all of one request")?;
    let mut context = Context::open(&args.common, &[Format::Text, Format::Json])?;
    let catalog = Catalog::load(&context);
    let calls = Calls::load(&context, &catalog);
    let index = find(&args.id, &context, &catalog, &calls)?;
    let described = Described {
        context: &context,
        catalog: &catalog,
    };
    let window = calls
        .calls
        .get(index)
        .map(|call| rpc_breakdown::window(&described, call));
    if let Some(window) = window {
        context.select_window(window);
    }
    let stacks = Stacks::load(&context);
    let Some(report) = rpc_breakdown::report(&context, &catalog, &stacks, &calls, index) else {
        bail!("{} has no request {}", context.file_name, args.id);
    };
    context.answer("rpc", &report, render::rpc_breakdown::text)
}

/// Refuses a selection where the request is named: it only says among which `slowest` is.
pub(super) fn refuse_selection(id: &str, common: &CommonArgs) -> Result<(), UsageError> {
    match id {
        "slowest" => Ok(()),
        id => common.refuse(
            &Unused::SELECTION,
            &format!("{id} names the request already"),
        ),
    }
}

/// The request that an id names, as a place in the list of calls.
///
/// # Errors
/// If there is none.
pub(super) fn find(
    id: &str,
    context: &Context,
    catalog: &Catalog,
    calls: &Calls,
) -> anyhow::Result<usize> {
    let total = calls.calls.len();
    let index = match id {
        "slowest" => rpc::slowest(context, catalog, calls),
        id => rpc::index_of(id),
    };
    match index {
        Some(index) if index < total => Ok(index),
        _ if total == 0 => bail!("{} has no requests of a known protocol", context.file_name),
        Some(_) => bail!(
            "{} has no request {id}: they go from r1 to r{total}",
            context.file_name
        ),
        None => Err(UsageError(format!(
            "{id:?} names no request: expected r1 to r{total}, or slowest"
        ))
        .into()),
    }
}
