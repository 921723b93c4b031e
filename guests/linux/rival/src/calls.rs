//! Linux' system calls, as far as this program needs them (include/uapi/asm-generic/unistd.h): all of its unsafe code.

use core::arch::asm;
use core::ffi::CStr;
use core::ptr;

mod number {
    pub const IOCTL: usize = 29;
    pub const MOUNT: usize = 40;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const WRITE: usize = 64;
    pub const EXIT: usize = 93;
    pub const REBOOT: usize = 142;
    pub const MUNMAP: usize = 215;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const MMAP: usize = 222;
    pub const WAIT4: usize = 260;
}

const STANDARD_OUTPUT: usize = 1;
/// `SIGCHLD`: a process that is made so is waited for.
const SIGCHLD: usize = 17;
/// `O_RDWR | O_CLOEXEC`.
const READ_AND_WRITE: usize = 0x8_0002;
/// `PROT_READ | PROT_WRITE`, and `MAP_SHARED`, `MAP_PRIVATE`, `MAP_ANONYMOUS`.
const READABLE_AND_WRITABLE: usize = 3;
const SHARED: usize = 1;
const PRIVATE: usize = 2;
const ANONYMOUS: usize = 0x20;

/// The clock.
pub fn now() -> u64 {
    let ticks: u64;
    // SAFETY: Linux lets programs read it.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", out(reg) ticks, options(nostack, preserves_flags)) };
    ticks
}

/// Ends this process.
pub fn exit(status: usize) -> ! {
    loop {
        // SAFETY: it reads and writes no memory of ours.
        let _ = unsafe { call(number::EXIT, [status, 0, 0, 0, 0, 0]) };
    }
}

/// Switches the machine off, which the first process alone may.
pub fn power_off() -> ! {
    /// Against mistakes (include/uapi/linux/reboot.h).
    const MAGIC: [usize; 2] = [0xfee1_dead, 0x2812_1969];
    const POWER_OFF: usize = 0x4321_fedc;
    // SAFETY: it reads and writes no memory of ours.
    let _ = unsafe { call(number::REBOOT, [MAGIC[0], MAGIC[1], POWER_OFF, 0, 0, 0]) };
    exit(1)
}

/// Writes to the console.
pub fn write(text: &[u8]) {
    // SAFETY: so many bytes can be read.
    let _ = unsafe { call(number::WRITE, [STANDARD_OUTPUT, text.as_ptr().addr(), text.len(), 0, 0, 0]) };
}

/// Has Linux' devices appear in `/dev`.
pub fn mount_devices() {
    let (kind, place) = (c"devtmpfs".as_ptr().addr(), c"/dev".as_ptr().addr());
    // SAFETY: both are strings that end in null.
    let _ = unsafe { call(number::MOUNT, [kind, place, kind, 0, 0, 0]) };
}

/// In which process one goes on.
pub enum Forked {
    /// The new one.
    Child,
    /// The one that made it.
    Parent,
}

/// Makes a process.
pub fn fork() -> Option<Forked> {
    // SAFETY: the new process has its own copy of all memory.
    let child = unsafe { call(number::CLONE, [SIGCHLD, 0, 0, 0, 0, 0]) }?;
    Some(if child == 0 { Forked::Child } else { Forked::Parent })
}

/// Waits until a process that was made has ended.
pub fn wait() -> Option<()> {
    // SAFETY: it is asked to write nothing.
    unsafe { call(number::WAIT4, [usize::MAX, 0, 0, 0, 0, 0]) }.map(drop)
}

/// Becomes `program`, with an argument. Returns only if that fails.
pub fn execute(program: &CStr) {
    let arguments = [program.as_ptr(), c"child".as_ptr(), ptr::null()];
    let environment = [ptr::null::<u8>()];
    let places = [program.as_ptr().addr(), arguments.as_ptr().addr(), environment.as_ptr().addr(), 0, 0, 0];
    // SAFETY: a path and two lists of strings that end in null, as execve(2) wants them.
    let _ = unsafe { call(number::EXECVE, places) };
}

/// An open file.
pub struct File(usize);

impl File {
    /// Opens `path`, which begins at the root.
    pub fn open(path: &CStr) -> Option<Self> {
        // SAFETY: the path ends in null.
        unsafe { call(number::OPENAT, [0, path.as_ptr().addr(), READ_AND_WRITE, 0, 0, 0]) }.map(Self)
    }

    /// A request whose answer is another file.
    pub fn make(&self, request: usize, argument: usize) -> Option<Self> {
        // SAFETY: KVM's requests of this kind take a number.
        unsafe { call(number::IOCTL, [self.0, request, argument, 0, 0, 0]) }.map(Self)
    }

    /// A request that takes no argument.
    pub fn ask_number(&self, request: usize) -> Option<usize> {
        // SAFETY: as above.
        unsafe { call(number::IOCTL, [self.0, request, 0, 0, 0, 0]) }
    }

    /// A request that reads or writes a structure, whose size stands in its number.
    pub fn ask<T>(&self, request: usize, argument: &mut T) -> Option<usize> {
        if request >> 16 & 0x3fff != size_of::<T>() {
            return None;
        }
        // SAFETY: the structure is as long as the request says, and KVM's are plain numbers.
        unsafe { call(number::IOCTL, [self.0, request, (&raw mut *argument).addr(), 0, 0, 0]) }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: it is nobody else's.
        let _ = unsafe { call(number::CLOSE, [self.0, 0, 0, 0, 0, 0]) };
    }
}

/// Memory that others write to as well: it is read and written word by word.
pub struct Mapping {
    // Private: so many bytes, mapped as long as this is there.
    start: *mut u32,
    length: usize,
}

/// Maps `length` bytes, of `file` or of nothing.
pub fn map(file: Option<&File>, length: usize) -> Option<Mapping> {
    let (flags, file) = file.map_or((PRIVATE | ANONYMOUS, usize::MAX), |file| (SHARED, file.0));
    // SAFETY: the kernel chooses a place where nothing is.
    let place = unsafe { call(number::MMAP, [0, length, READABLE_AND_WRITABLE, flags, file, 0]) }?;
    Some(Mapping { start: ptr::with_exposed_provenance_mut(place), length })
}

impl Mapping {
    /// Where it is.
    pub fn address(&self) -> usize {
        self.start.addr()
    }

    /// Writes words from its start on, as far as there is room.
    pub fn write(&self, words: &[u32]) {
        for (index, word) in words.iter().enumerate().take(self.length / size_of::<u32>()) {
            // SAFETY: inside the mapping.
            unsafe { self.start.add(index).write_volatile(*word) };
        }
    }

    /// The word at byte `offset`; 0 behind its end.
    pub fn read(&self, offset: usize) -> u32 {
        if offset / size_of::<u32>() >= self.length / size_of::<u32>() {
            return 0;
        }
        // SAFETY: inside the mapping.
        unsafe { self.start.add(offset / size_of::<u32>()).read_volatile() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nothing refers to it any more.
        let _ = unsafe { call(number::MUNMAP, [self.start.addr(), self.length, 0, 0, 0, 0]) };
    }
}

/// Asks Linux; nothing if it refuses.
///
/// # Safety
///
/// As far as the call takes `arguments` for addresses, they must be good ones.
unsafe fn call(number: usize, arguments: [usize; 6]) -> Option<usize> {
    let [x0, x1, x2, x3, x4, x5] = arguments;
    let answer: usize;
    // SAFETY: Linux keeps every register but x0, and touches no memory but what the caller answers for.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inout("x0") x0 => answer,
            in("x1") x1,
            in("x2") x2,
            in("x3") x3,
            in("x4") x4,
            in("x5") x5,
            options(nostack),
        );
    }
    // Its errors are -4095 to -1.
    (answer < usize::MAX - 4094).then_some(answer)
}
