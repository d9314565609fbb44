//! `rpc ID`: one request taken apart.

use anyhow::bail;

use crate::{
    Outcome,
    analysis::{
        rpc_breakdown,
        rpc_call::Calls,
        rpc_place::{self, Place, Which},
        rpc_row,
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
    let place = find(&args.id, &context, &catalog)?;
    context.select_window(place.window);
    let calls = Calls::load(&context, &catalog, |call| call.touches(place.window));
    let stacks = Stacks::load(&context);
    let Some(report) = rpc_breakdown::report(&context, &catalog, &stacks, &calls, place.id) else {
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

/// The request that an id names.
///
/// # Errors
/// If there is none.
pub(super) fn find(id: &str, context: &Context, catalog: &Catalog) -> anyhow::Result<Place> {
    let which = match id {
        "slowest" => Some(Which::Slowest),
        id => rpc_row::index_of(id).map(Which::Id),
    };
    // What names no request is told how many there are.
    let (place, total) = rpc_place::locate(context, catalog, which.unwrap_or(Which::Slowest));
    match (which, place) {
        (Some(_), Some(place)) => Ok(place),
        _ if total == 0 => bail!("{} has no requests of a known protocol", context.file_name),
        (Some(Which::Id(_)), None) => bail!(
            "{} has no request {id}: they go from r1 to r{total}",
            context.file_name
        ),
        _ => Err(UsageError(format!(
            "{id:?} names no request: expected r1 to r{total}, or slowest"
        ))
        .into()),
    }
}
