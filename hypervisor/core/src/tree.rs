//! Device trees: checked before they are read.
//!
//! `fdt` reads a tree well but takes its structure on trust. [`Tree::check`] walks all of it first, so that what remains can only be
//! missing or odd, never out of bounds. (Devicetree Specification 0.4, chapter 5.)

use core::fmt;

use fdt::Fdt;
pub use fdt::node::FdtNode;

use crate::addr::{Pa, PaRange};

const MAGIC: u32 = 0xd00d_feed;
const HEADER_SIZE: usize = 40;
/// The version whose layout this is.
const VERSION: u32 = 17;
/// Deeper trees are refused: reading recurses.
const MAX_DEPTH: usize = 24;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// What is wrong with a tree's structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It does not begin as a device tree does.
    Header,
    /// A block lies outside the tree, or is not aligned.
    Bounds,
    /// The list of reserved memory has no end.
    Reservations,
    /// The structure block is not a properly nested sequence of nodes and properties.
    Structure,
    /// A name does not end, or is not plain text.
    Name,
    /// Nodes are nested more than 24 deep.
    Depth,
    /// A property that holds a number is not as long as one.
    Cells,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "it does not begin like a device tree of version 17",
            Self::Bounds => "one of its blocks lies outside it",
            Self::Reservations => "its memory reservations have no end",
            Self::Structure => "its nodes and properties are not properly nested",
            Self::Name => "a name in it is not plain text",
            Self::Depth => "its nodes are nested too deep",
            Self::Cells => "a property that holds a number has another length",
        })
    }
}

/// A tree whose structure has been checked.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    // Only `check` makes one.
    fdt: Fdt<'a>,
}

impl<'a> Tree<'a> {
    /// Checks the tree at the beginning of `bytes`.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let field = |index: usize| word(bytes, index * 4).ok_or(Malformed::Header);
        if field(0)? != MAGIC || field(5)? < VERSION || field(6)? > VERSION {
            return Err(Malformed::Header);
        }
        let bytes = bytes.get(..field(1)? as usize).ok_or(Malformed::Bounds)?;
        if bytes.len() < HEADER_SIZE {
            return Err(Malformed::Bounds);
        }
        let block = |offset: u32, size: u32| {
            let start = offset as usize;
            start.checked_add(size as usize).and_then(|end| bytes.get(start..end))
        };
        let structure = block(field(2)?, field(9)?).ok_or(Malformed::Bounds)?;
        let strings = block(field(3)?, field(8)?).ok_or(Malformed::Bounds)?;
        let reservations = bytes.get(field(4)? as usize..).ok_or(Malformed::Bounds)?;
        if !field(2)?.is_multiple_of(4) {
            return Err(Malformed::Bounds);
        }
        let ends = |entry: &[u8]| entry.iter().all(|byte| *byte == 0);
        if !reservations.chunks_exact(16).any(ends) {
            return Err(Malformed::Reservations);
        }
        check_structure(structure, strings)?;
        Fdt::new(bytes).map(|fdt| Self { fdt }).map_err(|_| Malformed::Header)
    }

    /// The root node.
    ///
    /// # Panics
    /// Never: a checked tree has one.
    #[must_use]
    pub fn root(&self) -> FdtNode<'_, 'a> {
        self.fdt.find_node("/").expect("a checked tree has a root")
    }

    /// The node at an absolute path without aliases. A unit address may be left out.
    #[must_use]
    #[inline(never)]
    pub fn node(&self, path: &str) -> Option<FdtNode<'_, 'a>> {
        let steps = path.strip_prefix('/')?.split('/').filter(|step| !step.is_empty());
        steps.into_iter().try_fold(self.root(), |node, step| {
            node.children().find(|child| {
                let base = child.name.split('@').next();
                child.name == step || !step.contains('@') && base == Some(step)
            })
        })
    }

    /// All nodes, each before its children.
    pub fn nodes(&self) -> impl Iterator<Item = FdtNode<'_, 'a>> {
        self.fdt.all_nodes()
    }

    /// What the tree's memory reservations name.
    pub fn reservations(&self) -> impl Iterator<Item = PaRange> + 'a {
        self.fdt.memory_reservations().filter_map(|entry| PaRange::new(Pa(entry.address() as u64), entry.size() as u64))
    }
}

/// Takes the placeholders out of a tree that boot loaders leave where they deleted something, and which `fdt` does not expect.
/// A malformed tree stays malformed.
pub fn remove_placeholders(bytes: &mut [u8]) {
    let field = |bytes: &[u8], index: usize| word(bytes, index * 4).map(|field| field as usize);
    let Some((start, size)) = field(bytes, 2).zip(field(bytes, 9)) else { return };
    let Some(structure) = start.checked_add(size).and_then(|end| bytes.get_mut(start..end)) else {
        return;
    };
    let (mut from, mut to) = (0, 0);
    while let Some(token) = word(structure, from) {
        let length = match token {
            NOP => 0,
            PROPERTY => 12 + word(structure, from + 4).unwrap_or(0) as usize,
            BEGIN_NODE => 5 + text_length(structure, from + 4).unwrap_or(0),
            _ => 4,
        };
        let end = (from + length.max(4)).next_multiple_of(4).min(structure.len());
        if token != NOP {
            structure.copy_within(from..end, to);
            to += end - from;
        }
        from = end;
    }
    if let Some(rest) = structure.get_mut(to..) {
        rest.fill(0);
    }
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// The length of the text at `offset`, which must end in a zero.
fn text_length(bytes: &[u8], offset: usize) -> Result<usize, Malformed> {
    let text = bytes.get(offset..).ok_or(Malformed::Name)?;
    let length = text.iter().position(|byte| *byte == 0).ok_or(Malformed::Name)?;
    let plain = text.iter().take(length).all(|byte| byte.is_ascii_graphic());
    if plain { Ok(length) } else { Err(Malformed::Name) }
}

fn check_structure(structure: &[u8], strings: &[u8]) -> Result<(), Malformed> {
    let (mut at, mut depth, mut has_root) = (0, 0, false);
    // Properties come before children.
    let mut may_have_property = false;
    loop {
        let token = word(structure, at).ok_or(Malformed::Structure)?;
        at += 4;
        match token {
            BEGIN_NODE => {
                if depth == 0 && (has_root || text_length(structure, at)? != 0) {
                    return Err(Malformed::Structure);
                }
                at = (at + text_length(structure, at)? + 1).next_multiple_of(4);
                (depth, has_root, may_have_property) = (depth + 1, true, true);
                if depth > MAX_DEPTH {
                    return Err(Malformed::Depth);
                }
            }
            END_NODE if depth > 0 => (depth, may_have_property) = (depth - 1, false),
            PROPERTY if may_have_property => at = check_property(structure, strings, at)?,
            END if depth == 0 && has_root => return Ok(()),
            _ => return Err(Malformed::Structure),
        }
    }
}

/// Checks the property whose length is at `at`, and returns where the next token is.
fn check_property(structure: &[u8], strings: &[u8], at: usize) -> Result<usize, Malformed> {
    /// Properties that readers take for one number each.
    const NUMBERS: [&[u8]; 5] =
        [b"#address-cells", b"#size-cells", b"#interrupt-cells", b"phandle", b"interrupt-parent"];
    let length = word(structure, at).ok_or(Malformed::Structure)? as usize;
    let name = word(structure, at + 4).ok_or(Malformed::Structure)? as usize;
    let name = strings.get(name..name + text_length(strings, name)?).ok_or(Malformed::Name)?;
    if length != 4 && NUMBERS.contains(&name) {
        return Err(Malformed::Cells);
    }
    let end = (at + 8).checked_add(length).ok_or(Malformed::Structure)?;
    structure.get(at + 8..end).ok_or(Malformed::Structure)?;
    Ok(end.next_multiple_of(4))
}

/// Reading properties as what they hold.
pub trait Properties<'a>: Copy {
    /// The property's bytes.
    fn bytes(self, name: &str) -> Option<&'a [u8]>;

    /// Whether the property is there.
    #[inline(never)]
    fn has(self, name: &str) -> bool {
        self.bytes(name).is_some()
    }

    /// Its 32-bit numbers, if it is a whole number of them.
    fn words(self, name: &str) -> Option<impl Iterator<Item = u32> + Clone + 'a> {
        let bytes = self.bytes(name).filter(|bytes| bytes.len().is_multiple_of(4))?;
        Some(bytes.chunks_exact(4).filter_map(|word| word.try_into().ok().map(u32::from_be_bytes)))
    }

    /// Its one 32-bit number.
    #[inline(never)]
    fn number(self, name: &str) -> Option<u32> {
        let mut words = self.words(name)?;
        words.next().filter(|_| words.next().is_none())
    }

    /// Its strings.
    fn strings(self, name: &str) -> impl Iterator<Item = &'a str> {
        let text = self.bytes(name).and_then(|bytes| core::str::from_utf8(bytes).ok());
        text.unwrap_or("").split_terminator('\0')
    }

    /// Its first string.
    #[inline(never)]
    fn string(self, name: &str) -> Option<&'a str> {
        self.strings(name).next()
    }

    /// Whether it is compatible with `what`.
    #[inline(never)]
    fn is_compatible(self, what: &str) -> bool {
        self.strings("compatible").any(|compatible| compatible == what)
    }

    /// Whether its status, if it has one, says that it is in use.
    fn is_enabled(self) -> bool {
        matches!(self.string("status"), None | Some("okay" | "ok"))
    }

    /// The cells that its children's addresses and sizes take.
    #[inline(never)]
    fn cells(self) -> Cells {
        Cells { address: self.number("#address-cells").unwrap_or(2), size: self.number("#size-cells").unwrap_or(1) }
    }

    /// The ranges of its `reg`, as its parent counts cells; `None` if there is none or it cannot be read so.
    fn ranges(self, cells: Cells) -> Option<impl Iterator<Item = PaRange>> {
        let mut words = self.words("reg")?;
        if cells.address > 2 || cells.size > 2 || cells.address + cells.size == 0 {
            return None;
        }
        let entry = (cells.address + cells.size) as usize;
        let count = words.clone().count();
        if !count.is_multiple_of(entry) {
            return None;
        }
        let mut take =
            move |cells: u32| (0..cells).fold(0, |value, _| value << 32 | u64::from(words.next().unwrap_or(0)));
        let ranges = (0..count / entry).map(move |_| {
            let base = take(cells.address);
            PaRange::new(Pa(base), take(cells.size))
        });
        Some(ranges.flatten())
    }
}

impl<'a> Properties<'a> for FdtNode<'_, 'a> {
    // Once in the image, not once for each property: no time is lost where trees are read.
    #[inline(never)]
    fn bytes(self, name: &str) -> Option<&'a [u8]> {
        self.property(name).map(|property| property.value)
    }
}

/// How many 32-bit cells addresses and sizes take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    /// Of an address.
    pub address: u32,
    /// Of a size.
    pub size: u32,
}

#[cfg(test)]
mod tests;
