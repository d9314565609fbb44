//! `flows`: who talked to whom.

use crate::{
    Outcome,
    analysis::flow,
    cli::{CommonArgs, Format},
    context::Context,
    model::{catalog::Catalog, connection::Connections},
    render,
};

/// How many flows a picture shows unless told otherwise.
const PICTURE_ROWS: usize = 60;

/// What can be typed after `flows`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kindling-replay flows web.kndl
  kindling-replay flows web.kndl -o flows.svg
  kindling-replay flows web.kndl --comm 'nginx*' --format dot | dot -Tpng >flows.png")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
}

/// Runs `flows`.
///
/// # Errors
/// If the capture cannot be read or the answer not be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let formats = [Format::Text, Format::Json, Format::Dot, Format::Svg];
    let mut context = Context::open(&args.common, &formats)?;
    if context.format == Format::Svg {
        context.top.get_or_insert(PICTURE_ROWS);
    }
    let catalog = Catalog::load(&context);
    let connections = Connections::new(&catalog.files);
    let report = flow::report(&context, &catalog, &connections);
    match context.format {
        Format::Json => context.write_json("flows", &report)?,
        Format::Dot => context.write(|out| render::flow::dot(out, &report))?,
        Format::Svg => context.write(|out| render::flow_svg::svg(out, &report))?,
        _ => context.write(|out| render::flow::text(out, &report))?,
    }
    Ok(context.finish())
}
