//! What the summoner needs of a frame, wherever its bytes are.

use mote_netback::{Checksum, Frame};

/// An Ethernet frame. All headers that matter here are in its head.
pub trait Packet {
    /// Its beginning, or all of it.
    fn head(&self) -> &[u8];

    /// The same, to be changed.
    fn head_mut(&mut self) -> &mut [u8];

    /// Its length in bytes.
    fn length(&self) -> usize;

    /// How many pages it keeps from others.
    fn pages(&self) -> usize;

    /// What is known of its TCP checksum. [`Checksum::Blank`] is not touched.
    fn checksum(&self) -> Checksum;
}

impl Packet for Frame {
    fn head(&self) -> &[u8] {
        Self::head(self)
    }

    fn head_mut(&mut self) -> &mut [u8] {
        Self::head_mut(self)
    }

    fn length(&self) -> usize {
        self.len()
    }

    fn pages(&self) -> usize {
        Self::pages(self)
    }

    fn checksum(&self) -> Checksum {
        self.checksum
    }
}
