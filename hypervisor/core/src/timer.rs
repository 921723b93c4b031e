//! The emulated EL1 physical timer (Arm ARM D12.2): a compare value against the counter that all of the machine shares.

/// `CNTP_CTL_EL0` fields (Arm ARM D24.10.17).
const ENABLE: u64 = 1;
const IMASK: u64 = 1 << 1;
const ISTATUS: u64 = 1 << 2;

/// One of the timer's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerRegister {
    /// `CNTP_CTL_EL0`: enable, mask, status.
    Control,
    /// `CNTP_CVAL_EL0`: the compare value in ticks.
    CompareValue,
    /// `CNTP_TVAL_EL0`: the same, as signed 32 bits from now.
    TimerValue,
}

/// A vCPU's physical timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhysicalTimer {
    control: u64,
    compare: u64,
    // What was last said of the line.
    told: bool,
}

impl PhysicalTimer {
    /// Switches it off, as the reset of its vCPU does. The line stays what it is until somebody asks.
    pub fn reset(&mut self) {
        *self = Self { told: self.told, ..Self::default() };
    }

    /// What a guest reads at tick `now`.
    pub fn read(&self, register: TimerRegister, now: u64) -> u64 {
        match register {
            TimerRegister::Control if self.has_fired(now) => self.control | ISTATUS,
            TimerRegister::Control => self.control,
            TimerRegister::CompareValue => self.compare,
            TimerRegister::TimerValue => self.compare.wrapping_sub(now) & 0xffff_ffff,
        }
    }

    /// Takes what a guest writes at tick `now`. The line may change: see [`Self::line_change`].
    pub fn write(&mut self, register: TimerRegister, value: u64, now: u64) {
        match register {
            TimerRegister::Control => self.control = value & (ENABLE | IMASK),
            TimerRegister::CompareValue => self.compare = value,
            TimerRegister::TimerValue => {
                let offset = i64::from(value as u32 as i32);
                self.compare = now.wrapping_add_signed(offset);
            }
        }
    }

    /// Whether the timer asserts its interrupt at tick `now`, if that has changed since the last time somebody asked.
    pub fn line_change(&mut self, now: u64) -> Option<bool> {
        let line = self.line(now);
        (core::mem::replace(&mut self.told, line) != line).then_some(line)
    }

    fn line(&self, now: u64) -> bool {
        self.control & IMASK == 0 && self.has_fired(now)
    }

    /// The tick at which the line will rise: `None` if it is masked, off or high already.
    pub fn deadline(&self, now: u64) -> Option<u64> {
        let armed = self.control & (ENABLE | IMASK) == ENABLE;
        (armed && self.compare > now).then_some(self.compare)
    }

    fn has_fired(&self, now: u64) -> bool {
        self.control & ENABLE != 0 && self.compare <= now
    }
}

/// When a virtual timer with these registers will assert its interrupt, in ticks of the physical counter; `None` if it never will
/// (`CNTV_CTL_EL0`, `CNTV_CVAL_EL0`, `CNTVOFF_EL2`).
pub fn virtual_deadline(control: u64, compare: u64, offset: u64) -> Option<u64> {
    // A compare value that the sum carries past the counter's end lies centuries ahead.
    (control & (ENABLE | IMASK) == ENABLE).then(|| compare.saturating_add(offset))
}

/// The earlier of two times that may never come.
pub fn earliest(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.zip(other).map_or(one.or(other), |(one, other)| Some(one.min(other)))
}

const NANOSECONDS: u64 = 1_000_000_000;

/// Ticks of a counter of `hz` as nanoseconds.
pub const fn nanoseconds(ticks: u64, hz: u64) -> u64 {
    (ticks / hz).saturating_mul(NANOSECONDS).saturating_add(ticks % hz * NANOSECONDS / hz)
}

/// Nanoseconds as ticks of a counter of `hz`.
pub const fn ticks(nanoseconds: u64, hz: u64) -> u64 {
    let rest = nanoseconds % NANOSECONDS;
    (nanoseconds / NANOSECONDS).saturating_mul(hz).saturating_add(rest * hz / NANOSECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_fires_when_the_counter_reaches_its_value() {
        let mut timer = PhysicalTimer::default();
        timer.write(TimerRegister::CompareValue, 100, 0);
        assert!(!timer.line(200), "off");
        timer.write(TimerRegister::Control, ENABLE, 0);
        assert_eq!(timer.deadline(99), Some(100));
        assert!(!timer.line(99));
        assert!(timer.line(100));
        assert_eq!(timer.deadline(100), None);
        assert_eq!(timer.read(TimerRegister::Control, 100), ENABLE | ISTATUS);
    }

    #[test]
    fn a_masked_timer_shows_its_status_and_keeps_its_line_low() {
        let mut timer = PhysicalTimer::default();
        timer.write(TimerRegister::Control, ENABLE | IMASK | ISTATUS | 0xff00, 0);
        assert!(!timer.line(1));
        assert_eq!(timer.deadline(0), None);
        assert_eq!(timer.read(TimerRegister::Control, 1), ENABLE | IMASK | ISTATUS);
    }

    #[test]
    fn the_timer_value_is_a_signed_distance() {
        let mut timer = PhysicalTimer::default();
        timer.write(TimerRegister::TimerValue, u64::from(-5i32 as u32), 100);
        assert_eq!(timer.read(TimerRegister::CompareValue, 100), 95);
        assert_eq!(timer.read(TimerRegister::TimerValue, 100), 0xffff_fffb);
        timer.write(TimerRegister::TimerValue, 7, 100);
        assert_eq!(timer.read(TimerRegister::TimerValue, 103), 4);
    }

    #[test]
    fn a_virtual_timer_far_ahead_does_not_wrap_into_the_past() {
        assert_eq!(virtual_deadline(ENABLE, u64::MAX, 1000), Some(u64::MAX));
        assert_eq!(virtual_deadline(ENABLE | IMASK, 5, 0), None);
        assert_eq!(virtual_deadline(ENABLE, 5, 10), Some(15));
    }
}
