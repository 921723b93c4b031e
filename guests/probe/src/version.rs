//! `xen_version`.

use core::fmt::{self, Write};

use xen_abi::version::{FeatureInfo, VarBuf, op};
use xen_abi::xen::hypercall::XEN_VERSION;

use crate::pages::{Answer, SCRATCH, SIZE, call};
use crate::say;
use crate::wild;

/// Characters of a text that are printed.
const SHOWN: usize = 80;

/// The text at a place of the scratch page, as far as it was written.
struct Text(usize);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: [u8; SHOWN] = SCRATCH.get(self.0);
        f.write_char('`')?;
        for byte in bytes.into_iter().take_while(|byte| *byte != UNTOUCHED && *byte != 0) {
            f.write_char(if byte.is_ascii_graphic() { byte.into() } else { '_' })?;
        }
        f.write_char('`')
    }
}

/// What was not written is recognised by this.
const UNTOUCHED: u8 = 0xa5;

/// How many bytes from the start were written.
fn written() -> usize {
    (0..SIZE).rev().find(|at| SCRATCH.get::<u8>(*at) != UNTOUCHED).map_or(0, |last| last + 1)
}

/// Asks all of it.
#[inline(never)]
pub fn probe() {
    let ask = |op: u64, at: u64| wild::hypercall(XEN_VERSION, [op, at, 0, 0, 0]);
    for op in 0..16 {
        say(format_args!("version {op}, null"), ask(op, 0));
        if matches!(op, op::GET_FEATURES | op::BUILD_ID..=op::COMMANDLINE2) {
            continue;
        }
        SCRATCH.fill(UNTOUCHED);
        say(format_args!("version {op}"), ask(op, SCRATCH.address(0)));
        say(format_args!("version {op} written"), written());
        say(format_args!("version {op} text"), Text(0));
    }
    for submap_idx in [0, 1, 2, 31, u32::MAX] {
        let (answer, info) = call(XEN_VERSION, op::GET_FEATURES, FeatureInfo { submap_idx, submap: 0 });
        say(format_args!("version features {submap_idx:#x}"), answer);
        say(format_args!("version features {submap_idx:#x} submap"), Answer(info.submap.into()));
    }
    for op in op::BUILD_ID..=op::COMMANDLINE2 {
        for len in [0, 1, 1024] {
            SCRATCH.fill(UNTOUCHED);
            let (answer, _) = call(XEN_VERSION, op, VarBuf { len });
            say(format_args!("version {op}, room for {len}"), answer);
            say(format_args!("version {op}, room for {len}, text"), Text(4));
        }
    }
}
