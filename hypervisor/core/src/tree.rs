//! Device trees: checked whole before they are read, so that what remains can only be missing or odd, never out of bounds.
//!
//! `dtoolkit` does both (Devicetree Specification 0.4, chapter 5); here stands what the hypervisor asks of a node.

use alloc::vec::Vec;

pub use dtoolkit::error::FdtParseError as Malformed;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node as _, Property as _};

use crate::addr::{Pa, PaRange};

/// How deep [`Tree::nodes`] goes: no machine's tree is nested deeper.
const MAX_DEPTH: usize = 24;

/// A tree whose structure has been checked.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    // Only `check` makes one.
    fdt: Fdt<'a>,
}

impl<'a> Tree<'a> {
    /// Checks the tree at the beginning of `bytes`, which must lie at a multiple of 8, as everything on the heap does.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let size = bytes.get(4..).and_then(|rest| rest.first_chunk()).map_or(0, |size| u32::from_be_bytes(*size));
        // What is shorter than it says, or than a header, is refused for it.
        Ok(Self { fdt: Fdt::new(bytes.get(..size as usize).unwrap_or(bytes))? })
    }

    /// The root node.
    pub fn root(self) -> Node<'a> {
        Node(self.fdt.root())
    }

    /// The node at an absolute path without aliases. A unit address may be left out.
    pub fn node(self, path: &str) -> Option<Node<'a>> {
        self.fdt.find_node(path).map(Node)
    }

    /// All nodes below the root, each before its children.
    pub fn nodes(self) -> impl Iterator<Item = Node<'a>> {
        let mut open = alloc::vec![self.root().children()];
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

    /// What the tree's memory reservations name.
    pub fn reservations(self) -> impl Iterator<Item = PaRange> + 'a {
        self.fdt.memory_reservations().filter_map(|entry| PaRange::new(Pa(entry.address()), entry.size()))
    }
}

/// A node of a checked tree.
#[derive(Clone, Copy)]
pub struct Node<'a>(FdtNode<'a>);

// What is asked often is in the image once instead of once for each property: no time is lost where trees are read.
impl<'a> Node<'a> {
    /// Its children, in the tree's order.
    pub fn children(self) -> impl Iterator<Item = Self> + use<'a> {
        self.0.children().map(Self)
    }

    /// The property's bytes.
    #[inline(never)]
    pub fn bytes(self, name: &str) -> Option<&'a [u8]> {
        self.0.property(name)?.value_as().ok()
    }

    /// Its 32-bit numbers, if it is a whole number of them.
    pub fn words(self, name: &str) -> Option<impl Iterator<Item = u32> + use<'a>> {
        let (words, rest) = self.bytes(name)?.as_chunks();
        rest.is_empty().then(|| words.iter().map(|word| u32::from_be_bytes(*word)))
    }

    /// Its one 32-bit number.
    #[inline(never)]
    pub fn number(self, name: &str) -> Option<u32> {
        self.bytes(name)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// Its strings.
    pub fn strings(self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let text = self.bytes(name).and_then(|bytes| core::str::from_utf8(bytes).ok());
        text.unwrap_or("").split_terminator('\0')
    }

    /// Its first string.
    #[inline(never)]
    pub fn string(self, name: &str) -> Option<&'a str> {
        self.strings(name).next()
    }

    /// Whether it is compatible with `what`.
    #[inline(never)]
    pub fn is_compatible(self, what: &str) -> bool {
        self.strings("compatible").any(|compatible| compatible == what)
    }

    /// Whether its status, if it has one, says that it is in use.
    pub fn is_enabled(self) -> bool {
        matches!(self.string("status"), None | Some("okay" | "ok"))
    }

    /// The ranges of its `reg`, as its parent counts cells; none if it cannot be read so.
    pub fn ranges(self) -> Vec<PaRange> {
        let reg = self.0.reg().ok().flatten().into_iter().flatten();
        reg.filter_map(|range| PaRange::new(Pa(range.address().ok()?), range.size().ok()?)).collect()
    }
}

#[cfg(test)]
mod tests;
