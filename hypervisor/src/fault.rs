//! The last words: a panic or a fault in EL2 is told in full, and the machine goes off.

use core::fmt::{self, Write};
use core::panic::PanicInfo;

use mote_core::console::Wire;
use mote_platform::exceptions::FaultReport;
use mote_platform::{cpu, firmware, image, uart};

/// An address, and where it lies in the image: what a symboliser wants.
struct Address(u64);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = image::region().start as u64;
        write!(f, "{:#018x}", self.0)?;
        match self.0.checked_sub(base) {
            Some(offset) if offset < image::file_size() as u64 => write!(f, " (image+{offset:#x})"),
            _ => Ok(()),
        }
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say(format_args!("panic on pcpu {}: {info}", cpu::this()));
    firmware::system_off()
}

/// A fault in EL2 itself.
pub fn report(report: &FaultReport) -> ! {
    say(format_args!("fault in the hypervisor on pcpu {}", cpu::this()));
    say(format_args!("pc  {}", Address(report.pc)));
    say(format_args!("lr  {}", Address(report.x[30])));
    say(format_args!("sp  {:#018x}  far {:#018x}", report.sp, report.far));
    say(format_args!("esr {:#018x}  pstate {:#x}", report.esr, report.pstate));
    for (first, registers) in (0..).step_by(4).zip(report.x.chunks(4)) {
        say(format_args!("x{first:<2} {registers:016x?}"));
    }
    firmware::system_off()
}

fn say(line: fmt::Arguments<'_>) {
    // Nobody is left to tell that telling failed.
    let _ = write!(Wire(uart::write_in_emergency), "(mote) {line}\r\n");
}
