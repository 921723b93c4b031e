//! What is told of a guest's cost: every figure once, for tables, pages and files.

use super::DomainReport;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Ticks of the machine's counter.
    Ticks,
    /// Times.
    Count,
}

/// A figure of a guest.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// What it says, as a row's title.
    pub title: &'static str,
    /// What it counts.
    pub unit: Unit,
    value: fn(&DomainReport) -> Option<u64>,
}

impl Figure {
    /// Its value for `domain`, if there is one.
    #[must_use]
    pub fn of(&self, domain: &DomainReport) -> Option<u64> {
        (self.value)(domain)
    }
}

/// Every figure, in the order in which they are shown. Exits by reason come behind them.
pub const FIGURES: [Figure; 13] = [
    figure("image", Unit::Bytes, |domain| Some(domain.image_bytes)),
    figure("memory given", Unit::Bytes, |domain| Some(domain.memory_bytes)),
    figure("memory touched", Unit::Bytes, |domain| Some(domain.touched_bytes)),
    figure("hypervisor: tables", Unit::Bytes, |domain| Some(domain.hypervisor_bytes.tables)),
    figure("hypervisor: structures", Unit::Bytes, |d| Some(d.hypervisor_bytes.structures)),
    figure("vCPUs", Unit::Count, |domain| Some(domain.vcpus.into())),
    figure("building it", Unit::Ticks, |domain| domain.built.checked_sub(domain.created)),
    figure("creation to first instruction", Unit::Ticks, |domain| {
        domain.first_instruction?.checked_sub(domain.created)
    }),
    figure("first instruction to ready", Unit::Ticks, |domain| domain.ready?.checked_sub(domain.first_instruction?)),
    figure("creation to ready", Unit::Ticks, |domain| domain.ready?.checked_sub(domain.created)),
    figure("creation to end", Unit::Ticks, |domain| domain.ended.checked_sub(domain.created)),
    figure("on a CPU", Unit::Ticks, |domain| Some(domain.cpu_ticks)),
    figure("exits", Unit::Count, |domain| Some(domain.exits.total())),
];

const fn figure(title: &'static str, unit: Unit, value: fn(&DomainReport) -> Option<u64>) -> Figure {
    Figure { title, unit, value }
}

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// A tick is an instruction.
    Instructions,
    /// So many ticks are a second.
    Hertz(u64),
}

impl Clock {
    /// The clock behind a report's ticks.
    #[must_use]
    pub const fn of(domain: &DomainReport, icount: bool) -> Self {
        if icount { Self::Instructions } else { Self::Hertz(domain.hz) }
    }
}

/// `value` for people.
#[must_use]
pub fn written(value: u64, unit: Unit, clock: Clock) -> String {
    match (unit, clock) {
        (Unit::Bytes, _) => bytes(value),
        (Unit::Ticks, Clock::Hertz(hz)) => milliseconds(value, hz),
        (Unit::Ticks, Clock::Instructions) | (Unit::Count, _) => grouped(value),
    }
}

fn bytes(value: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.into_iter().find(|(_, size)| value >= *size) {
        Some((unit, size)) if value.is_multiple_of(size) => format!("{} {unit}", value / size),
        Some((unit, size)) => format!("{:.1} {unit}", value as f64 / size as f64),
        None => format!("{value} B"),
    }
}

fn milliseconds(ticks: u64, hz: u64) -> String {
    format!("{:.2} ms", ticks as f64 * 1000.0 / hz.max(1) as f64)
}

/// With a comma between thousands.
#[must_use]
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many times `b` is in `a`, as a ratio for people.
#[must_use]
pub fn ratio(a: u64, b: u64) -> String {
    match (a, b) {
        (_, 0) => String::from("-"),
        (a, b) if a >= 10 * b => format!("{}x", grouped((a as f64 / b as f64).round() as u64)),
        (a, b) => format!("{:.2}x", a as f64 / b as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        let of = |value, unit| written(value, unit, Clock::Hertz(62_500_000));
        assert_eq!(of(192_608, Unit::Bytes), "188.1 KiB");
        assert_eq!(of(256 << 20, Unit::Bytes), "256 MiB");
        assert_eq!(of(12, Unit::Bytes), "12 B");
        assert_eq!(of(62_500, Unit::Ticks), "1.00 ms");
        assert_eq!(written(62_500, Unit::Ticks, Clock::Instructions), "62,500");
    }

    #[test]
    fn ratios_are_exact_where_they_are_small() {
        assert_eq!(ratio(3, 2), "1.50x");
        assert_eq!(ratio(886_000_000, 500_000), "1,772x");
        assert_eq!(ratio(5, 0), "-");
    }
}
