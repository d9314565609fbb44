//! `flows` as a picture: clients at the left, what they call to the right of them.
//!
//! Parties stand in columns, each one further right than whoever calls it. Every flow has a line of its
//! own at both parties it joins, and its label stands where it leaves the client, so labels never
//! cover each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

use crate::{
    analysis::flow::{FlowRow, FlowsReport},
    render::flow::{label, party},
};

const MARGIN: f64 = 20.0;
const TITLE: f64 = 46.0;
const NODE_WIDTH: f64 = 190.0;
/// Height of one flow's line at a party.
const LINE: f64 = 20.0;
/// Space between the lines of a party and its edges.
const PAD: f64 = 9.0;
const GAP: f64 = 16.0;
/// The average width of a label's character.
const CHAR: f64 = 5.9;

/// Writes the map as SVG.
///
/// # Errors
/// Those of `out`.
pub fn svg(out: &mut dyn Write, report: &FlowsReport) -> anyhow::Result<()> {
    let rows = &report.list.rows;
    let layout = Layout::new(rows);
    let (width, height) = (layout.width, layout.height);
    writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}" font-family="system-ui, sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>
<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#5b6b7b"/></marker></defs>
<text x="{MARGIN}" y="26" font-size="15" font-weight="600" fill="#1f2933">{}</text>"##,
        escaped(&title(report))
    )?;
    for (row, edge) in rows.iter().zip(&layout.edges) {
        write_edge(out, row, edge)?;
    }
    for node in &layout.nodes {
        write_node(out, node)?;
    }
    // Labels come last: no line crosses them out.
    for (row, edge) in rows.iter().zip(&layout.edges) {
        write_label(out, row, edge)?;
    }
    Ok(writeln!(out, "</svg>")?)
}

fn title(report: &FlowsReport) -> String {
    let mut title = format!("Flows in {}", report.capture.file);
    if report.list.hidden() > 0 {
        title += &format!(
            " (the {} largest of {})",
            report.list.rows.len(),
            report.list.total
        );
    }
    if report.completeness.lost > 0 {
        title += &format!(", {} events lost", report.completeness.lost);
    }
    title
}

fn write_edge(out: &mut dyn Write, row: &FlowRow, edge: &Edge) -> anyhow::Result<()> {
    let colour = colour(row);
    let bytes = row.request_bytes.saturating_add(row.response_bytes) as f64;
    let stroke = 1.0 + (bytes + 1.0).log10() * 0.35;
    let &Edge {
        from: (x1, y1),
        to: (x2, y2),
    } = edge;
    let bend = ((x2 - x1).abs() / 2.0).max(60.0);
    writeln!(
        out,
        r##"<path d="M{x1:.1},{y1:.1} C{:.1},{y1:.1} {:.1},{y2:.1} {x2:.1},{y2:.1}" fill="none" stroke="{colour}" stroke-width="{stroke:.2}" stroke-opacity="0.8" marker-end="url(#arrow)"><title>{}</title></path>"##,
        x1 + bend,
        x2 - bend,
        escaped(&format!(
            "{} → {}: {}",
            party(&row.client),
            party(&row.server),
            label(row)
        )),
    )?;
    Ok(())
}

fn write_label(out: &mut dyn Write, row: &FlowRow, edge: &Edge) -> anyhow::Result<()> {
    let (x, y) = edge.from;
    writeln!(
        out,
        r##"<text x="{:.1}" y="{:.1}" font-size="11" fill="#364152" stroke="#ffffff" stroke-width="4" stroke-linejoin="round" paint-order="stroke">{}</text>"##,
        x + 8.0,
        y - 4.0,
        escaped(&label(row)),
    )?;
    Ok(())
}

fn write_node(out: &mut dyn Write, node: &Node) -> anyhow::Result<()> {
    let dash = if node.recorded {
        ""
    } else {
        r#" stroke-dasharray="4 3""#
    };
    let shown: String = node.name.chars().take(28).collect();
    writeln!(
        out,
        r##"<g><title>{}</title><rect x="{:.1}" y="{:.1}" width="{NODE_WIDTH}" height="{:.1}" rx="7" fill="#f2f5f9" stroke="#7b8794"{dash}/>
<text x="{:.1}" y="{:.1}" text-anchor="middle" font-weight="600" fill="#1f2933">{}</text></g>"##,
        escaped(&node.name),
        node.x,
        node.y,
        node.height,
        node.x + NODE_WIDTH / 2.0,
        node.y + node.height / 2.0 + 4.0,
        escaped(&shown),
    )?;
    Ok(())
}

fn colour(row: &FlowRow) -> &'static str {
    let failed = row.requests.as_ref().map_or(0, |r| r.errors + r.no_answer);
    match row.protocol.as_str() {
        _ if failed > 0 => "#c92a2a",
        "http" => "#1c7ed6",
        "redis" => "#d9480f",
        "tcp" | "udp" => "#5c7cfa",
        "unix" => "#2b8a3e",
        _ => "#868e96",
    }
}

struct Node {
    name: String,
    recorded: bool,
    x: f64,
    y: f64,
    height: f64,
}

struct Edge {
    from: (f64, f64),
    to: (f64, f64),
}

struct Layout {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    width: f64,
    height: f64,
}

impl Layout {
    fn new(rows: &[FlowRow]) -> Self {
        let ends: Vec<(String, String)> = rows
            .iter()
            .map(|row| (party(&row.client), party(&row.server)))
            .collect();
        let recorded: BTreeSet<String> = rows
            .iter()
            .flat_map(|row| [&row.client, &row.server])
            .filter(|side| side.pid.is_some())
            .map(party)
            .collect();
        let columns = columns(&ends);
        let mut nodes = place(&ends, &columns, &recorded);
        let longest = rows
            .iter()
            .map(|row| label(row).chars().count())
            .max()
            .unwrap_or(0);
        let pitch = NODE_WIDTH + (longest as f64 * CHAR + 40.0).max(120.0);
        for node in &mut nodes {
            node.x = MARGIN
                + columns
                    .get(&node.name)
                    .map_or(0.0, |&column| column as f64 * pitch);
        }
        let edges = connect(&ends, &nodes);
        let right = nodes
            .iter()
            .map(|node| node.x + NODE_WIDTH)
            .fold(400.0, f64::max);
        let bottom = nodes
            .iter()
            .map(|node| node.y + node.height)
            .fold(TITLE, f64::max);
        Self {
            nodes,
            edges,
            width: right + MARGIN,
            height: bottom + MARGIN,
        }
    }
}

/// The column of each party: one more than the rightmost of its callers. Rounds are bounded, because
/// callers can call each other in a ring.
fn columns(ends: &[(String, String)]) -> BTreeMap<String, usize> {
    let mut columns: BTreeMap<String, usize> = BTreeMap::new();
    for (client, server) in ends {
        columns.entry(client.clone()).or_default();
        columns.entry(server.clone()).or_default();
    }
    let limit = columns.len().min(5);
    for _ in 0..limit {
        for (client, server) in ends.iter().filter(|(client, server)| client != server) {
            let next = columns.get(client).map_or(0, |column| column + 1);
            let callee = columns.get(server).copied().unwrap_or(0);
            let calls_back = ends
                .iter()
                .any(|(a, b)| a == server && b == client && server < client);
            if next > callee && next < limit && !calls_back {
                columns.insert(server.clone(), next);
            }
        }
    }
    columns
}

/// Stacks the parties of each column, near the middle of those that call them.
fn place(
    ends: &[(String, String)],
    columns: &BTreeMap<String, usize>,
    recorded: &BTreeSet<String>,
) -> Vec<Node> {
    let count = |name: &String, outgoing: bool| {
        let side = |(client, server): &&(String, String)| {
            if outgoing {
                client == name
            } else {
                server == name
            }
        };
        ends.iter().filter(side).count()
    };
    let mut middles: BTreeMap<String, f64> = BTreeMap::new();
    let mut nodes = Vec::new();
    for column in 0..=columns.values().copied().max().unwrap_or(0) {
        let members = columns
            .iter()
            .filter(|(_, at)| **at == column)
            .map(|(name, _)| name);
        let mut members: Vec<(f64, &String)> = members
            .map(|name| {
                let callers = ends.iter().filter(|(_, server)| server == name);
                let at: Vec<f64> = callers
                    .filter_map(|(client, _)| middles.get(client).copied())
                    .collect();
                // Whom nobody calls stands in the order of the flows: the largest on top.
                let first = ends
                    .iter()
                    .position(|(client, _)| client == name)
                    .unwrap_or(0);
                let middle = at.iter().sum::<f64>() / at.len().max(1) as f64;
                (
                    if at.is_empty() {
                        first as f64 * 1e-3
                    } else {
                        middle
                    },
                    name,
                )
            })
            .collect();
        members.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)));
        let mut y = TITLE;
        for (wanted, name) in members {
            let lines = count(name, true).max(count(name, false)).max(1);
            let height = lines as f64 * LINE + 2.0 * PAD;
            y = y.max(wanted - height / 2.0);
            middles.insert(name.clone(), y + height / 2.0);
            let recorded = recorded.contains(name);
            nodes.push(Node {
                name: name.clone(),
                recorded,
                x: 0.0,
                y,
                height,
            });
            y += height + GAP;
        }
    }
    nodes
}

/// Gives each flow its own line at both ends, in the order of where it leads.
fn connect(ends: &[(String, String)], nodes: &[Node]) -> Vec<Edge> {
    let node = |name: &String| nodes.iter().find(|node| node.name == *name);
    let mut edges: Vec<Edge> = ends
        .iter()
        .map(|_| Edge {
            from: (0.0, 0.0),
            to: (0.0, 0.0),
        })
        .collect();
    for here in nodes {
        for outgoing in [true, false] {
            let far =
                |(client, server): &(String, String)| node(if outgoing { server } else { client });
            let mut lines: Vec<(usize, f64)> = ends
                .iter()
                .enumerate()
                .filter(|(_, (client, server))| {
                    here.name == *if outgoing { client } else { server }
                })
                .map(|(index, ends)| (index, far(ends).map_or(0.0, |far| far.y)))
                .collect();
            lines.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
            let top = here.y + (here.height - lines.len() as f64 * LINE) / 2.0;
            for (line, (index, _)) in lines.into_iter().enumerate() {
                let y = top + (line as f64 + 0.5) * LINE;
                match edges.get_mut(index) {
                    Some(edge) if outgoing => edge.from = (here.x + NODE_WIDTH, y),
                    Some(edge) => edge.to = (here.x - 2.0, y),
                    None => {}
                }
            }
        }
    }
    edges
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
