//! `xen_version`: what hypervisor this is. It answers as Xen 4.20 does, and says in its texts that it is Mote.

use xen_abi::version::{CompileInfo, FeatureInfo, VarBuf, feature, op};

use super::{Answer, Arguments, Errno, Reply, Session};

/// 4.20.
pub(super) const VERSION: u64 = 4 << 16 | 20;

const EXTRA_VERSION: &str = concat!(".0-mote-", env!("CARGO_PKG_VERSION"));
const CAPABILITIES: &str = "xen-3.0-aarch64 ";
/// As Debian's Xen says it.
const CHANGESET: &str = "";
/// What Xen says in place of what a guest need not know.
const DENIED: &str = "<denied>";

const FEATURES: u32 = feature::TRANSLATED
    | feature::MEMORY_OP_VNODE
    | feature::ARM_SMCCC
    | feature::NOT_DIRECT_MAPPED
    | feature::RUNSTATE_PHYS_AREA;

/// A text in a field of bytes, ended by zeroes.
fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.iter_mut().zip(text.bytes()).take(N - 1).for_each(|(byte, character)| *byte = character);
    bytes
}

impl Session<'_> {
    pub(super) fn xen_version(&mut self, &mut [op, to, ..]: &mut Arguments) -> Answer {
        match u64::from(op as u32) {
            op::VERSION => return Ok(Reply::Value(VERSION)),
            op::EXTRAVERSION => self.write(to, &text::<16>(EXTRA_VERSION))?,
            op::COMPILE_INFO => {
                let (compiler, compile_by) = (text("rustc"), text(DENIED));
                let (compile_domain, compile_date) = (text(DENIED), text(DENIED));
                self.write(to, &CompileInfo { compiler, compile_by, compile_domain, compile_date })?;
            }
            op::CAPABILITIES => self.write(to, &text::<1024>(CAPABILITIES))?,
            op::CHANGESET => self.write(to, &text::<64>(CHANGESET))?,
            op::PLATFORM_PARAMETERS => self.write(to, &0_u64)?,
            op::GET_FEATURES => {
                return self.update(to, |_, FeatureInfo { submap_idx, .. }| {
                    if submap_idx == 0 { Ok(FeatureInfo { submap_idx, submap: FEATURES }) } else { Err(Errno::EINVAL) }
                });
            }
            op::PAGESIZE if to != 0 => return Err(Errno::EINVAL),
            op::PAGESIZE => return Ok(Reply::Value(mote_core::addr::PAGE_SIZE)),
            op::GUEST_HANDLE => self.write(to, &[0_u8; 16])?,
            op::COMMANDLINE => self.write_bytes(to, b"<denied>\0")?,
            op::BUILD_ID | op::EXTRAVERSION2..=op::COMMANDLINE2 => {
                return self.variable_text(u64::from(op as u32), to);
            }
            _ => return Err(Errno::ENOSYS),
        }
        Ok(Reply::DONE)
    }

    /// A text of any length; without a place to put it, its length.
    fn variable_text(&self, op: u64, at: u64) -> Answer {
        let text = match op {
            op::EXTRAVERSION2 => EXTRA_VERSION,
            op::CAPABILITIES2 => CAPABILITIES,
            op::CHANGESET2 => CHANGESET,
            // The others are not for guests.
            _ => return Err(Errno::EPERM),
        };
        if at != 0 {
            let buffer: VarBuf = self.read(at)?;
            if text.len() > buffer.len as usize {
                return Err(Errno::ENOBUFS);
            }
            self.write_bytes(at.wrapping_add(size_of::<VarBuf>() as u64), text.as_bytes())?;
        }
        Ok(Reply::Value(text.len() as u64))
    }
}
