//! `critical-path`: what determined how long a thread, a request or a window took.

use anyhow::bail;

use crate::{
    Outcome,
    analysis::{
        critical_path_compare, critical_path_report, critical_path_report::Question,
        rpc::RpcFilter, rpc_call::Calls, rpc_row,
    },
    cli::{CommonArgs, Format, UsageError},
    commands::rpc,
    context::Context,
    model::{catalog::Catalog, stack::Stacks},
    render::{critical_path, critical_path_svg},
};

/// How many pieces the text shows unless told otherwise.
const TEXT_ROWS: usize = 40;
/// How many a picture has.
const PICTURE_ROWS: usize = 5_000;

/// What can be typed after `critical-path`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The path is followed back from the end: while the thread ran or waited for a CPU, the path is its own;
where it was blocked, the path is that of the thread that woke it, and so on. Its pieces add up to the
window, to the nanosecond. Where an interrupt delivered the bytes that it waited for, the path goes on with
the thread that had sent them, if that was recorded.

All context switches of the window are held in memory: of a long capture, ask for a part.

Examples:
  kindling-replay critical-path web.kndl r1742
  kindling-replay critical-path web.kndl --tid 4711 --from 1s --to 1.2s -o path.svg
  kindling-replay critical-path web.kndl --pid 4711
  kindling-replay critical-path web.kndl --rpcs --endpoint 'GET /api/*'")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
    /// The request, as `rpcs` names it, or `slowest`; without it, the selected thread that ran last
    #[arg(value_name = "ID", conflicts_with = "rpcs")]
    pub id: Option<String>,
    /// What makes slow requests slower than usual ones
    #[arg(long)]
    pub rpcs: bool,
    /// With --rpcs: only requests of this protocol
    #[arg(long, value_name = "NAME", requires = "rpcs")]
    pub protocol: Option<String>,
    /// With --rpcs: only requests for operations like this (`*` is any text, `?` any character)
    #[arg(long, value_name = "GLOB", requires = "rpcs")]
    pub endpoint: Option<String>,
}

/// Runs `critical-path`.
///
/// # Errors
/// If the capture cannot be read, has nothing of what is asked for, or the answer cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let formats = [Format::Text, Format::Json, Format::Svg];
    if let Some(id) = &args.id {
        rpc::refuse_selection(id, &args.common)?;
    }
    let mut context = Context::open(&args.common, &formats)?;
    let shown = match context.format {
        Format::Text => Some(TEXT_ROWS),
        Format::Svg => Some(PICTURE_ROWS),
        _ => None,
    };
    context.top = context.top.or(shown);
    let catalog = Catalog::load(&context);
    if args.rpcs {
        return compare(args, &context, &catalog);
    }
    let question = match &args.id {
        Some(id) => request(id, &context, &catalog)?,
        None => Question {
            of: "the window".to_owned(),
            tid: None,
            window: context.selection.window,
        },
    };
    context.select_window(question.window);
    let stacks = Stacks::load(&context);
    let report = critical_path_report::report(&context, &catalog, &stacks, question);
    let Some(report) = report else {
        bail!(
            "{} has no selected thread that ran in the window",
            context.file_name
        );
    };
    match context.format {
        Format::Json => context.write_json("critical_path", &report)?,
        Format::Svg => {
            let title = context.file_name.clone();
            context.write(|out| critical_path_svg::svg(out, &report, &title))?;
        }
        _ => context.write(|out| critical_path::text(out, &report))?,
    }
    Ok(context.finish())
}

fn request(id: &str, context: &Context, catalog: &Catalog) -> anyhow::Result<Question> {
    let place = rpc::find(id, context, catalog)?;
    let name = rpc_row::id(place.id);
    let calls = Calls::load(context, catalog, |call| call.touches(place.window));
    match calls
        .get(place.id)
        .and_then(|call| critical_path_compare::question(call, &name))
    {
        Some(question) => Ok(question),
        None => bail!(
            "{} has no answer to request {name}, and so no path",
            context.file_name
        ),
    }
}

fn compare(args: &Args, context: &Context, catalog: &Catalog) -> anyhow::Result<Outcome> {
    if context.format == Format::Svg {
        let reason = "critical-path --rpcs has no format svg: choose one of text, json";
        return Err(UsageError(reason.to_owned()).into());
    }
    let filter = RpcFilter {
        protocol: args.protocol.clone(),
        endpoint: args.endpoint.clone(),
        ..RpcFilter::default()
    };
    let stacks = Stacks::load(context);
    let report = critical_path_compare::report(context, catalog, &stacks, &filter);
    let Some(report) = report else {
        bail!("{} has no answered request that fits", context.file_name);
    };
    match context.format {
        Format::Json => context.write_json("critical_path", &report)?,
        _ => context.write(|out| critical_path::compared(out, &report))?,
    }
    Ok(context.finish())
}
