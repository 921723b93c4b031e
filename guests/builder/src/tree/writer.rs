//! Writing a device tree (Devicetree Specification 0.4, chapter 5). Names are the caller's to choose well.

use alloc::vec::Vec;

const MAGIC: u32 = 0xd00d_feed;
const VERSION: u32 = 17;
const COMPATIBLE_VERSION: u32 = 16;
const HEADER_SIZE: u32 = 40;
/// One entry of zeroes: nothing is reserved.
const NO_RESERVATIONS: [u8; 16] = [0; 16];

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const END: u32 = 9;

/// A tree that is being written.
#[derive(Default)]
pub struct Writer {
    structure: Vec<u8>,
    // Each property has its name here for itself: that is some hundred bytes more, and no table of names.
    strings: Vec<u8>,
}

// Properties are written by calls: in the image once, not once for each property.
impl Writer {
    /// Writes a node with the properties, and behind them the children, that `fill` gives it. The answer is `fill`'s.
    pub fn node<R>(&mut self, name: &str, fill: impl FnOnce(&mut Self) -> R) -> R {
        self.put(&[&BEGIN_NODE.to_be_bytes(), name.as_bytes(), &[0]]);
        let answer = fill(self);
        self.put(&[&END_NODE.to_be_bytes()]);
        answer
    }

    /// Writes a property of bytes.
    #[inline(never)]
    pub fn bytes(&mut self, name: &str, value: &[u8]) {
        let header = [PROPERTY, value.len() as u32, self.strings.len() as u32].map(u32::to_be_bytes);
        self.put(&[header.as_flattened(), value]);
        self.strings.extend(name.bytes().chain([0]));
    }

    /// Writes a property of one string.
    #[inline(never)]
    pub fn text(&mut self, name: &str, value: &str) {
        self.bytes(name, &[value.as_bytes(), &[0]].concat());
    }

    /// Writes a property of 32-bit numbers.
    #[inline(never)]
    pub fn words(&mut self, name: &str, value: &[u32]) {
        let value: Vec<_> = value.iter().map(|word| word.to_be_bytes()).collect();
        self.bytes(name, value.as_flattened());
    }

    /// Writes a property of 64-bit numbers.
    #[inline(never)]
    pub fn doubles(&mut self, name: &str, value: &[u64]) {
        let value: Vec<_> = value.iter().map(|double| double.to_be_bytes()).collect();
        self.bytes(name, value.as_flattened());
    }

    /// The tree, when its root node is written.
    pub fn finish(mut self) -> Vec<u8> {
        self.put(&[&END.to_be_bytes()]);
        let [structure, strings] = [&self.structure, &self.strings].map(|block| block.len() as u32);
        let at = HEADER_SIZE + NO_RESERVATIONS.len() as u32;
        let header = [
            [MAGIC, at + structure + strings, at, at + structure, HEADER_SIZE],
            [VERSION, COMPATIBLE_VERSION, 0, strings, structure],
        ];
        let header: Vec<_> = header.as_flattened().iter().map(|field| field.to_be_bytes()).collect();
        [header.as_flattened(), &NO_RESERVATIONS, &self.structure, &self.strings].concat()
    }

    /// Adds to the structure, up to the next whole word.
    fn put(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.structure.extend_from_slice(part));
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }
}
