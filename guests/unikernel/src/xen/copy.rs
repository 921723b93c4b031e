//! Copies between this domain's memory and pages that others grant, made by the hypervisor: nothing is mapped.

use alloc::vec::Vec;
use core::marker::PhantomData;

use xen_abi::grant_table::{Copy, CopyEnd, GrantStatus, op, option};
use xen_abi::xen::{domid, hypercall};

use super::grants::GrantError;
use super::hypercall::hypercall as raw;
use super::page::SIZE;
use crate::Machine;

/// How many copies are made by one call.
const AT_ONCE: usize = 64;

/// Copies that are yet to be made, from and to pages of one domain.
pub struct Copies<'a> {
    granter: u16,
    list: Vec<Copy>,
    memory: PhantomData<&'a mut [u8]>,
}

impl<'a> Copies<'a> {
    /// None, between this domain and `granter`.
    #[must_use]
    pub const fn new(granter: u16) -> Self {
        Self { granter, list: Vec::new(), memory: PhantomData }
    }

    /// Fills `into` with what is at `offset` of the page that `reference` grants.
    pub fn fetch(&mut self, reference: u32, offset: usize, into: &'a mut [u8]) {
        let (granter, start) = (self.granter, into.as_mut_ptr().expose_provenance());
        let pieces = pieces(start, into.len());
        self.list.extend(
            pieces.map(|(done, ours, len)| {
                copy(grant(granter, reference, offset + done), ours, len, option::SOURCE_GREF)
            }),
        );
    }

    /// Puts `from` at `offset` of the page that `reference` grants.
    pub fn store(&mut self, reference: u32, offset: usize, from: &'a [u8]) {
        let (granter, start) = (self.granter, from.as_ptr().expose_provenance());
        let pieces = pieces(start, from.len());
        self.list.extend(
            pieces
                .map(|(done, ours, len)| copy(ours, grant(granter, reference, offset + done), len, option::DEST_GREF)),
        );
    }

    /// Makes the copies, in their order.
    ///
    /// # Errors
    /// How the first ended that could not be made; others may have been.
    pub fn make(mut self) -> Result<(), GrantError> {
        for list in self.list.chunks_mut(AT_ONCE) {
            let arguments = [op::COPY, list.as_mut_ptr().addr() as u64, list.len() as u64, 0, 0];
            // SAFETY: only the slices are written for which `fetch` was given exclusive references, which live as long as this
            // structure; the list itself is ours.
            let called = unsafe { raw(hypercall::GRANT_TABLE_OP, arguments) };
            if called.is_err() {
                return Err(GrantError(GrantStatus::GeneralError as i16));
            }
            if let Some(failed) = list.iter().find(|copy| copy.status != 0) {
                return Err(GrantError(failed.status));
            }
        }
        Ok(())
    }
}

/// A place in a page of the granter's. The hypervisor refuses one that is in no page.
fn grant(granter: u16, reference: u32, offset: usize) -> CopyEnd {
    CopyEnd { place: reference.into(), domid: granter, offset: u16::try_from(offset).unwrap_or(u16::MAX), pad: 0 }
}

/// The `len` bytes at `start`, cut where a page of ours ends: how many come before, the place, and the length.
fn pieces(start: usize, len: usize) -> impl Iterator<Item = (usize, CopyEnd, usize)> {
    let mut done = 0;
    core::iter::from_fn(move || {
        let (before, here) = (done, start + done);
        let piece = (SIZE - here % SIZE).min(len - done);
        done += piece;
        let frame = Machine::address(here) / SIZE;
        let ours = CopyEnd { place: frame as u64, domid: domid::SELF, offset: (here % SIZE) as u16, pad: 0 };
        (piece != 0).then_some((before, ours, piece))
    })
}

/// A copy of less than 64 KiB, as each piece is.
const fn copy(source: CopyEnd, dest: CopyEnd, len: usize, flags: u16) -> Copy {
    Copy { source, dest, len: len as u16, flags, status: 0, pad: 0 }
}
