//! How interrupts come: sent, masked, by priority, made pending and active by registers.

use super::interface::{
    ICC_AP1R0, ICC_BPR1, ICC_DIR, ICC_EOIR1, ICC_HPPIR1, ICC_IAR1, ICC_IGRPEN1, ICC_PMR, ICC_RPR, ICC_SGI1R,
};
use super::{ACTIVATE, DEACTIVATE, DISABLE, ENABLE, GROUP, Gic, PEND, PRIORITY, ROUTE, SGI_FRAME, UNPEND};
use crate::say;
use crate::wild::{self, Outcome, Register, Width};

impl Gic {
    /// A register of the frame that has this vCPU's own interrupts.
    fn own(self, offset: usize) -> usize {
        self.redistributor + SGI_FRAME + offset
    }

    #[inline(never)]
    pub fn own_interrupts(self) {
        let _ = wild::store(self.distributor, Width::Word, 0x12);
        let _ = wild::store(self.own(GROUP), Width::Word, u32::MAX.into());
        let _ = wild::store(self.own(ENABLE), Width::Word, 0xffff);
        (0..4).for_each(|word| {
            let _ = wild::store(self.own(PRIORITY) + word * 4, Width::Word, 0xa0a0_a0a0);
        });
        for (register, value) in [(ICC_PMR, 0xff), (ICC_BPR1, 0), (ICC_IGRPEN1, 1)] {
            let _ = wild::write(register, value);
        }
        self.state("before");
        send(3);
        self.state("sent");
        send(3);
        read("acknowledged", ICC_IAR1);
        self.state("acknowledged");
        read("acknowledged: once more", ICC_IAR1);
        send(3);
        self.state("sent while active");
        let _ = wild::write(ICC_EOIR1, 3);
        self.state("ended");
        read("ended: acknowledged again", ICC_IAR1);
        let _ = wild::write(ICC_EOIR1, 3);
        let _ = wild::write(ICC_PMR, 0xa0);
        send(4);
        self.state("sent, masked by priority");
        read("masked by priority: acknowledged", ICC_IAR1);
        let _ = wild::write(ICC_PMR, 0xff);
        read("no longer masked: acknowledged", ICC_IAR1);
        let _ = wild::write(ICC_EOIR1, 4);
        let _ = wild::store(self.own(DISABLE), Width::Word, 1 << 5);
        send(5);
        self.state("sent, disabled");
        read("disabled: acknowledged", ICC_IAR1);
        let _ = wild::store(self.own(ENABLE), Width::Word, 1 << 5);
        read("enabled: acknowledged", ICC_IAR1);
        let _ = wild::write(ICC_DIR, 5);
        self.state("deactivated alone");
        let _ = wild::write(ICC_EOIR1, 5);
        let _ = wild::write(ICC_IGRPEN1, 0);
        send(6);
        read("group disabled: highest", ICC_HPPIR1);
        read("group disabled: acknowledged", ICC_IAR1);
        let _ = wild::write(ICC_IGRPEN1, 1);
        read("group enabled: acknowledged", ICC_IAR1);
        let _ = wild::write(ICC_EOIR1, 6);
        targets();
    }

    /// Where an interrupt is seen.
    fn state(self, when: &str) {
        for (name, offset) in [("pending", PEND), ("active", ACTIVATE)] {
            let value = wild::load(self.own(offset), Width::Word).map(|value| value & 0xffff);
            say(format_args!("sgi {when}: {name}"), Outcome(value));
        }
        read(format_args!("{when}: highest"), ICC_HPPIR1);
        read(format_args!("{when}: running priority"), ICC_RPR);
        read(format_args!("{when}: active priorities"), ICC_AP1R0);
    }

    /// Several at once come in order.
    #[inline(never)]
    pub fn priorities(self) {
        for (number, priority) in [(1, 0x80), (2, 0x40), (3, 0xc0), (4, 0x40)] {
            let _ = wild::store(self.own(PRIORITY) + number, Width::Byte, priority);
            send(number as u64);
        }
        for number in 1..=5 {
            let taken = ICC_IAR1.read();
            say(format_args!("sgi priorities: number {number}"), Outcome(taken));
            read(format_args!("priorities: running {number}"), ICC_RPR);
            if let Ok(taken) = taken {
                let _ = wild::write(ICC_EOIR1, taken);
            }
        }
        send(1);
        read("preemption: first", ICC_IAR1);
        send(2);
        read("preemption: highest", ICC_HPPIR1);
        read("preemption: second", ICC_IAR1);
        read("preemption: running", ICC_RPR);
        read("preemption: active priorities", ICC_AP1R0);
        let _ = wild::write(ICC_EOIR1, 2);
        let _ = wild::write(ICC_EOIR1, 1);
    }

    /// Made pending and active by the registers.
    #[inline(never)]
    pub fn set_pending(self) {
        let _ = wild::store(self.own(PEND), Width::Word, 1 << 7);
        self.state("set pending");
        let _ = wild::store(self.own(UNPEND), Width::Word, 1 << 7);
        self.state("cleared pending");
        let _ = wild::store(self.own(PEND), Width::Word, 1 << 7);
        read("set pending: acknowledged", ICC_IAR1);
        let _ = wild::write(ICC_EOIR1, 7);
        let _ = wild::store(self.own(ACTIVATE), Width::Word, 1 << 8);
        self.state("set active");
        send(8);
        read("set active, sent: acknowledged", ICC_IAR1);
        let _ = wild::store(self.own(DEACTIVATE), Width::Word, 1 << 8);
        self.state("cleared active");
        read("cleared active: acknowledged", ICC_IAR1);
        let _ = wild::write(ICC_EOIR1, 8);
    }

    /// A shared interrupt that no device has.
    #[inline(never)]
    pub fn shared_interrupts(self) {
        const INTERRUPT: usize = 40;
        let (word, bit) = (INTERRUPT / 32 * 4, 1 << (INTERRUPT % 32));
        let _ = wild::store(self.distributor + GROUP + word, Width::Word, u32::MAX.into());
        let _ = wild::store(self.distributor + PRIORITY + INTERRUPT, Width::Byte, 0x80);
        let _ = wild::store(self.distributor + ROUTE + INTERRUPT * 8, Width::Double, 0);
        let _ = wild::store(self.distributor + PEND + word, Width::Word, bit);
        self.shared_state("set pending", word);
        let _ = wild::store(self.distributor + ENABLE + word, Width::Word, bit);
        read("spi enabled: acknowledged", ICC_IAR1);
        self.shared_state("acknowledged", word);
        let _ = wild::write(ICC_EOIR1, INTERRUPT as u64);
        self.shared_state("ended", word);
        let _ = wild::store(self.distributor + UNPEND + word, Width::Word, bit);
        for route in [1, 2, 1 << 31, 1 << 32 | 1, u64::MAX] {
            let at = self.distributor + ROUTE + INTERRUPT * 8;
            let stored = wild::store(at, Width::Double, route).and_then(|()| wild::load(at, Width::Double));
            say(format_args!("spi route after {route:#x}"), Outcome(stored));
            let _ = wild::store(at, Width::Double, 0);
        }
        let _ = wild::store(self.distributor + DISABLE + word, Width::Word, bit);
    }

    fn shared_state(self, when: &str, word: usize) {
        for (name, offset) in [("pending", PEND), ("active", ACTIVATE)] {
            say(format_args!("spi {when}: {name}"), Outcome(wild::load(self.distributor + offset + word, Width::Word)));
        }
    }
}

/// Sends a software-generated interrupt to this vCPU.
fn send(number: u64) {
    let _ = wild::write(ICC_SGI1R, number << 24 | 1);
}

fn read(name: impl core::fmt::Display, register: Register) {
    say(format_args!("sgi {name}"), Outcome(register.read()));
}

/// Targets other than this vCPU by its number.
#[inline(never)]
fn targets() {
    let targets = [
        ("none", 0),
        ("vCPU 5", 1 << 5),
        ("aff1", 1 << 16 | 1),
        ("aff2", 1 << 32 | 1),
        ("aff3", 1 << 48 | 1),
        ("range", 1 << 44 | 1),
    ];
    for (name, target) in targets.into_iter().chain([("all others", 1 << 40), ("vCPU 1", 2)]) {
        let _ = wild::write(ICC_SGI1R, 9 << 24 | target);
        let taken = ICC_IAR1.read();
        say(format_args!("sgi to {name}: acknowledged"), Outcome(taken));
        if taken.is_ok_and(|taken| taken == 9) {
            let _ = wild::write(ICC_EOIR1, 9);
        }
    }
}
