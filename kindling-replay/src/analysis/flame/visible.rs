//! Stacks as far as a picture shows them: what is too narrow for it becomes its caller's own time.

use super::names::{Chain, Weight, add};

/// A function at its place in a stack.
#[derive(Debug, Default)]
struct Node {
    rank: u32,
    /// With all that it called.
    total_ns: i64,
    /// By itself, and what it called and is not shown.
    own: Weight,
}

/// The stacks of `chains`, which are sorted, without the functions that stand for less than `least_ns` at their place.
pub(super) fn visible<'a>(
    chains: impl Iterator<Item = &'a (Chain, Weight)>,
    least_ns: f64,
) -> Vec<(Chain, Weight)> {
    let mut shown = Vec::new();
    let mut open: Vec<Node> = Vec::new();
    for (chain, weight) in chains {
        let same = open.iter().zip(chain);
        let same = same.take_while(|(node, rank)| node.rank == **rank).count();
        close(&mut open, same, least_ns, &mut shown);
        open.extend(chain.iter().skip(same).map(|&rank| Node {
            rank,
            ..Node::default()
        }));
        if let Some(innermost) = open.last_mut() {
            innermost.total_ns = innermost.total_ns.saturating_add(weight.0);
            add(&mut innermost.own, *weight);
        }
    }
    close(&mut open, 0, least_ns, &mut shown);
    shown
}

/// Ends the functions beyond the first `left` that are open: what they took is known.
fn close(open: &mut Vec<Node>, left: usize, least_ns: f64, shown: &mut Vec<(Chain, Weight)>) {
    while open.len() > left
        && let Some(node) = open.pop()
    {
        let is_shown = node.total_ns as f64 >= least_ns || open.is_empty();
        if is_shown && node.own.0 > 0 {
            let outer = open.iter().map(|outer| outer.rank);
            shown.push((outer.chain([node.rank]).collect(), node.own));
        }
        if let Some(caller) = open.last_mut() {
            caller.total_ns = caller.total_ns.saturating_add(node.total_ns);
            if !is_shown {
                add(&mut caller.own, node.own);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(least_ns: f64) -> Vec<(Chain, i64)> {
        let chains = [
            (vec![1], (5, 1)),
            (vec![1, 2, 3], (40, 4)),
            (vec![1, 2, 4], (3, 1)),
            (vec![1, 2, 4, 5], (4, 1)),
            (vec![1, 6], (6, 1)),
            (vec![7, 2], (9, 1)),
        ];
        let mut shown = visible(chains.iter(), least_ns);
        shown.sort();
        shown
            .into_iter()
            .map(|(chain, (ns, _))| (chain, ns))
            .collect()
    }

    #[test]
    fn what_is_too_narrow_is_its_callers_own() {
        let all = [
            (vec![1], 5),
            (vec![1, 2, 3], 40),
            (vec![1, 2, 4], 3),
            (vec![1, 2, 4, 5], 4),
            (vec![1, 6], 6),
            (vec![7, 2], 9),
        ];
        assert_eq!(shown(0.0), all);
        assert_eq!(shown(4.0), all, "as wide as asked is wide enough");
        let some = [
            (vec![1], 5),
            (vec![1, 2, 3], 40),
            (vec![1, 2, 4], 7),
            (vec![1, 6], 6),
            (vec![7, 2], 9),
        ];
        assert_eq!(shown(5.0), some, "together 4 is wide enough");
        assert_eq!(
            shown(10.0),
            [
                (vec![1], 11),
                (vec![1, 2], 7),
                (vec![1, 2, 3], 40),
                (vec![7], 9)
            ]
        );
        assert_eq!(shown(1e9), [(vec![1], 58), (vec![7], 9)]);
    }
}
