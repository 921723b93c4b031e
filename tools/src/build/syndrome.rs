//! What the exception syndrome in a crash report means.

use aarch64_esr_decoder::FieldInfo;

/// How the hypervisor writes a syndrome: its digits follow.
const MARK: &str = "esr 0x";
/// The fields that tell what happened: the exception's class, whether an access was a write, and why it failed.
const TELLING: [&str; 4] = ["EC", "WnR", "DFSC", "IFSC"];

/// What the syndrome in `line`, a line of a crash report, means. Nothing if none is in it.
#[must_use]
pub fn explain(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(MARK)?;
    let digits = rest.split_whitespace().next()?;
    let fields = aarch64_esr_decoder::decode(u64::from_str_radix(digits, 16).ok()?).ok()?;
    let words: Vec<&str> = fields.iter().flat_map(telling).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

fn telling(field: &FieldInfo) -> Vec<&str> {
    let own = field.description.as_deref().filter(|_| TELLING.contains(&field.name));
    let below = field.subfields.iter().flat_map(telling);
    own.map(|words| words.trim_end_matches('.')).into_iter().chain(below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syndrome_in_a_crash_report_is_put_in_words() {
        let words = explain("(mote) esr 0x0000000096000050  pstate 0x3c9").expect("a syndrome");
        assert!(
            words.contains("Data Abort") && words.contains("writing") && words.contains("External abort"),
            "{words}"
        );
        let undefined = explain("(mote) esr 0x0000000002000000  pstate 0x3c9").expect("a syndrome");
        assert!(undefined.contains("Unknown reason"), "{undefined}");
    }

    #[test]
    fn other_lines_have_no_syndrome() {
        assert_eq!(explain("(mote) pc  0x0000000040201234 (image+0x1234)"), None);
        assert_eq!(explain("(mote) esr 0xwhat"), None);
    }
}
