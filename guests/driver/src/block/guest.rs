//! A frontend as the backend sees it: its memory, its event channel.

use alloc::rc::Rc;

use mote_blkback::{Buffer, Frontend, NoAccess, Part};
use mote_unikernel::xen::copy::Copies;
use mote_unikernel::xen::events::Port;

/// A guest and the port to it.
pub struct Guest {
    pub domain: u16,
    pub port: Rc<Port>,
}

impl Frontend for Guest {
    fn fetch(&mut self, parts: &[Part], buffers: &mut [Buffer]) -> Result<(), NoAccess> {
        let mut copies = Copies::new(self.domain);
        for (part, buffer) in parts.iter().zip(buffers) {
            copies.fetch(part.gref(), part.range().start, buffer.bytes_mut());
        }
        copies.make().map_err(|_| NoAccess)
    }

    fn store(&mut self, parts: &[Part], buffers: &[Buffer]) -> Result<(), NoAccess> {
        let mut copies = Copies::new(self.domain);
        for (part, buffer) in parts.iter().zip(buffers) {
            copies.store(part.gref(), part.range().start, buffer.bytes());
        }
        copies.make().map_err(|_| NoAccess)
    }

    fn notify(&mut self) {
        // A guest that has closed its port does not wait for anything.
        let _ = self.port.notify();
    }
}
