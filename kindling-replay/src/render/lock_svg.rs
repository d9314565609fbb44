//! `locks` as a picture: threads that waited at the left, whom they waited for at the right, and a line
//! between them as thick as the time.

use std::io::Write;

use crate::{
    analysis::locks::{LockEdge, LocksReport},
    render::{
        locks::{holder, label, party},
        timeline::escape,
        units,
    },
};

const MARGIN: f64 = 20.0;
const TOP: f64 = 64.0;
const NODE: f64 = 200.0;
const BETWEEN: f64 = 420.0;
const LINE: f64 = 30.0;
const GAP: f64 = 14.0;
/// Line colours, one for each of the first locks.
const COLOURS: [&str; 8] = [
    "#c92a2a", "#1c7ed6", "#2f9e44", "#e8590c", "#862e9c", "#0b7285", "#a61e4d", "#5c940d",
];

/// A thread with the height that its lines need.
struct Node {
    name: String,
    y: f64,
    height: f64,
    /// Where its next line starts or ends.
    next: f64,
}

/// Writes the picture.
///
/// # Errors
/// Those of `out`.
pub fn svg(out: &mut dyn Write, report: &LocksReport, title: &str) -> anyhow::Result<()> {
    let edges = &report.edges.rows;
    let mut waiters = nodes(edges, |edge| party(&edge.waiter));
    let mut holders = nodes(edges, holder);
    let bottom = |nodes: &[Node]| nodes.last().map_or(TOP, |node| node.y + node.height);
    let height = bottom(&waiters).max(bottom(&holders)) + MARGIN;
    let width = 2.0 * (MARGIN + NODE) + BETWEEN;
    writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>
<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#5b6b7b"/></marker></defs>
<text x="{MARGIN}" y="26" font-size="15" font-weight="600" fill="#1f2933">{}</text>
<text x="{MARGIN}" y="48" fill="#868e96">who waited</text><text x="{:.0}" y="48" fill="#868e96">for whom</text>"##,
        escape(&heading(report, title)),
        MARGIN + NODE + BETWEEN,
    )?;
    let longest = edges.first().map_or(1, |edge| edge.wait_ns.max(1)) as f64;
    let mut labels = Vec::new();
    for edge in edges {
        let from = port(&mut waiters, &party(&edge.waiter));
        let to = port(&mut holders, &holder(edge));
        let (x1, x2) = (MARGIN + NODE, MARGIN + NODE + BETWEEN);
        let bend = BETWEEN / 2.5;
        let stroke = 1.0 + 7.0 * (edge.wait_ns.max(0) as f64 / longest);
        let text = escape(&label(edge));
        writeln!(
            out,
            r##"<path d="M{x1},{from:.1} C{:.1},{from:.1} {:.1},{to:.1} {x2},{to:.1}" fill="none" stroke="{}" stroke-width="{stroke:.1}" stroke-opacity="0.75" marker-end="url(#arrow)"><title>{text}</title></path>"##,
            x1 + bend,
            x2 - bend,
            colour(edge),
        )?;
        labels.push((x1 + 8.0, from - 6.0, text));
    }
    for (nodes, x) in [(&waiters, MARGIN), (&holders, MARGIN + NODE + BETWEEN)] {
        for node in nodes {
            let shown: String = node.name.chars().take(28).collect();
            writeln!(
                out,
                r##"<g><title>{}</title><rect x="{x:.0}" y="{:.1}" width="{NODE}" height="{:.1}" rx="7" fill="#f2f5f9" stroke="#7b8794"/><text x="{:.0}" y="{:.1}" text-anchor="middle" font-weight="600" fill="#1f2933">{}</text></g>"##,
                escape(&node.name),
                node.y,
                node.height,
                x + NODE / 2.0,
                node.y + node.height / 2.0 + 4.0,
                escape(&shown),
            )?;
        }
    }
    // Labels come last: no line crosses them out.
    for (x, y, text) in labels {
        writeln!(
            out,
            r##"<text x="{x:.1}" y="{y:.1}" font-size="11" fill="#364152" stroke="#ffffff" stroke-width="4" stroke-linejoin="round" paint-order="stroke">{text}</text>"##
        )?;
    }
    Ok(writeln!(out, "</svg>")?)
}

fn heading(report: &LocksReport, title: &str) -> String {
    let mut heading = format!(
        "{title}: {}, {}",
        units::counted(report.waits, "wait"),
        units::duration(report.wait_ns)
    );
    if report.edges.hidden() > 0 {
        heading += &format!(
            " (the {} longest of {} pairs)",
            report.edges.rows.len(),
            report.edges.total
        );
    }
    heading
}

/// The threads at one side, from top to bottom in the order of their longest line.
fn nodes(edges: &[LockEdge], name: impl Fn(&LockEdge) -> String) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for edge in edges {
        let name = name(edge);
        match nodes.iter_mut().find(|node| node.name == name) {
            Some(node) => node.height += LINE,
            None => nodes.push(Node {
                name,
                y: 0.0,
                height: LINE,
                next: 0.0,
            }),
        }
    }
    let mut y = TOP;
    for node in &mut nodes {
        node.y = y;
        node.next = y + LINE / 2.0 + 4.0;
        y += node.height + GAP;
    }
    nodes
}

/// Where the next line of a thread starts or ends.
fn port(nodes: &mut [Node], name: &str) -> f64 {
    let Some(node) = nodes.iter_mut().find(|node| node.name == name) else {
        return TOP;
    };
    let y = node.next;
    node.next += LINE;
    y
}

fn colour(edge: &LockEdge) -> &'static str {
    let number: usize = edge.lock.trim_start_matches('l').parse().unwrap_or(1);
    COLOURS
        .get(number.saturating_sub(1))
        .copied()
        .unwrap_or("#868e96")
}
