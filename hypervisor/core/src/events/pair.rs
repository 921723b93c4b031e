//! What concerns the event channels of two domains at once.

use xen_abi::errno::Errno;

use super::{End, EventChannels, Page, Raised};
use crate::id::DomainId;

/// The caller's event channels and those of the domain at the other end, which may be the caller itself.
pub struct Pair<'a, P> {
    /// The caller's.
    pub local: &'a mut EventChannels<P>,
    /// The other's, if both ends are not the caller's.
    pub remote: Option<&'a mut EventChannels<P>>,
}

impl<P: Page> Pair<'_, P> {
    fn remote(&mut self) -> &mut EventChannels<P> {
        self.remote.as_deref_mut().unwrap_or(&mut *self.local)
    }

    /// Connects a new port of the caller's to one that the other domain made for it. An event comes at once, for those
    /// that may have been lost before.
    ///
    /// # Errors
    /// If there are too many ports, or the other is not there for the caller.
    pub fn bind_interdomain(&mut self, remote_port: u32) -> Result<(u32, Raised), Errno> {
        let (me, remote) = (self.local.me, self.remote().me);
        // As on Xen a port must be free even if the other is not there.
        let port = self.local.allocate(End::Ipi, super::VcpuId(0))?;
        match self.remote().channel_mut(remote_port) {
            Ok(channel) if channel.end == End::Unbound(me) => channel.end = End::Interdomain(me, port),
            _ => {
                self.local.free(port);
                return Err(Errno::EINVAL);
            }
        }
        self.local.channel_mut(port)?.end = End::Interdomain(remote, remote_port);
        Ok((port, self.local.pend(port)))
    }

    /// Closes a port of the caller's that is connected to the other domain or waits for it; its other end waits for the caller
    /// again, and hears of it if the caller is no more.
    ///
    /// # Errors
    /// If it is none. `EAGAIN` if it is another's by now.
    pub fn close(&mut self, port: u32) -> Result<Raised, Errno> {
        let (me, remote) = (self.local.me, self.remote().me);
        let remote_port = match self.local.channel(port)?.end {
            End::Interdomain(peer, remote_port) if peer == remote => remote_port,
            End::Unbound(peer) if peer == remote => 0,
            End::Free => return Err(Errno::EINVAL),
            _ => return Err(Errno::EAGAIN),
        };
        let is_over = self.local.most == 0;
        self.local.free(port);
        match self.remote().channel_mut(remote_port) {
            Ok(channel) if channel.end == End::Interdomain(me, port) => channel.end = End::Unbound(me),
            _ => return Ok(Raised::NOBODY),
        }
        Ok(if is_over { self.remote().pend(remote_port) } else { Raised::NOBODY })
    }
}

impl<P: Page> EventChannels<P> {
    /// Closes a port that concerns no other domain, or `gone`, which is no more.
    ///
    /// # Errors
    /// If it is none. `EAGAIN` if it concerns another by now.
    pub fn close_alone(&mut self, port: u32, gone: Option<DomainId>) -> Result<(), Errno> {
        if self.peer(port)? != gone {
            return Err(Errno::EAGAIN);
        }
        self.free(port);
        Ok(())
    }
}
