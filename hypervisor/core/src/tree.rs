//! Device trees: checked whole before they are read, so that what remains can only be missing or odd, never out of bounds.
//!
//! `dtoolkit` does both (Devicetree Specification 0.4, chapter 5); here stands what the hypervisor asks of a node.

use alloc::vec::Vec;

pub use dtoolkit::error::FdtParseError as Malformed;
pub use dtoolkit::fdt::{Fdt as Tree, FdtNode as Node};
use dtoolkit::{FromPropertyValue, Node as _, Property as _, ToCellInt as _};

use crate::addr::{Pa, PaRange};

/// How deep [`nodes`] goes: no machine's tree is nested deeper.
const MAX_DEPTH: usize = 24;

/// Checks the tree at the beginning of `bytes`, which must lie at a multiple of 8, as everything on the heap does.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(bytes: &[u8]) -> Result<Tree<'_>, Malformed> {
    let size = bytes.get(4..).and_then(|rest| rest.first_chunk()).map_or(0, |size| u32::from_be_bytes(*size));
    // What is shorter than it says, or than a header, is refused for it.
    Tree::new(bytes.get(..size as usize).unwrap_or(bytes))
}

/// All nodes below the root, each before its children.
pub fn nodes(tree: Tree<'_>) -> impl Iterator<Item = Node<'_>> {
    let mut open = alloc::vec![tree.root().children()];
    core::iter::from_fn(move || {
        loop {
            let Some(node) = open.last_mut()?.next() else {
                open.pop();
                continue;
            };
            if open.len() < MAX_DEPTH {
                open.push(node.children());
            }
            return Some(node);
        }
    })
}

/// A property's value, if it is of this kind.
pub fn property<'a, T: FromPropertyValue<'a>>(node: Node<'a>, name: &str) -> Option<T> {
    node.property(name)?.value_as().ok()
}

/// Whether the node's status, if it has one, says that it is in use.
pub fn is_enabled(node: &Node<'_>) -> bool {
    matches!(property(*node, "status"), None | Some("okay" | "ok"))
}

/// The ranges of a node's `reg`, as its parent counts cells; none if it cannot be read so.
pub fn ranges(node: Node<'_>) -> Vec<PaRange> {
    let reg = node.reg().ok().flatten().into_iter().flatten();
    reg.filter_map(|range| PaRange::new(Pa(range.address().ok()?), range.size().ok()?)).collect()
}

/// The INTIDs of a node's interrupts, in the GIC's three cells: kind, number, flags.
pub fn interrupts(node: Node<'_>) -> impl Iterator<Item = u32> {
    const SHARED: u32 = 0;
    const PRIVATE: u32 = 1;
    let all = node.property("interrupts").and_then(|all| all.as_prop_encoded_array([1; 3]).ok());
    all.into_iter().flatten().map_while(|[kind, number, _flags]| match (kind.to_int(), number.to_int::<u32>()) {
        (Ok(SHARED), Ok(number)) => number.checked_add(32),
        (Ok(PRIVATE), Ok(number)) if number < 16 => Some(number + 16),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
