//! Reports among the lines of the console: the hypervisor's of the machine in one line, the control domain's of guests in as many as the
//! console makes of it.

/// What reports begin with: the hypervisor's, and the control domain's by whichever way it prints.
const BEGINNINGS: [&str; 3] = ["(mote) report ", "(control) report ", "control: report "];
/// What the rest of a long line of the control domain's begins with.
const REST: &str = "control: ";
/// No report is longer.
const LONGEST: usize = 8 << 10;

/// Reports of which a part has come.
#[derive(Debug, Default)]
pub struct Reports {
    open: Option<String>,
}

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// No report.
    Nothing,
    /// A part of one, which is not the last.
    Part,
    /// The end of this one.
    Report(String),
}

impl Reports {
    /// Looks at a line.
    pub fn take(&mut self, line: &str) -> Taken {
        let begins = BEGINNINGS.iter().find_map(|beginning| Some((line.strip_prefix(beginning)?, *beginning)));
        let json = match (begins, self.open.take(), line.strip_prefix(REST)) {
            (Some((json, beginning)), ..) if beginning.starts_with(REST) => json.to_owned(),
            (Some((json, _)), open, _) => {
                self.open = open;
                return Taken::Report(json.trim_end().into());
            }
            (None, Some(open), Some(rest)) => open + rest,
            (None, open, _) => {
                self.open = open;
                return Taken::Nothing;
            }
        };
        if is_whole(&json) || json.len() > LONGEST {
            return Taken::Report(json.trim_end().into());
        }
        self.open = Some(json);
        Taken::Part
    }

    /// Whether a line that begins with `held` may still become a part of a report.
    pub fn may_begin(&self, held: &str) -> bool {
        let rest = self.open.is_some().then_some(REST);
        BEGINNINGS.into_iter().chain(rest).any(|beginning| beginning.starts_with(held) || held.starts_with(beginning))
    }
}

/// Whether every brace that was opened is closed: none is in a report's texts but in pairs.
fn is_whole(json: &str) -> bool {
    json.matches('{').count() <= json.matches('}').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_may_come_in_parts_between_other_lines() {
        let mut reports = Reports::default();
        for (line, taken) in [
            ("control: hello", Taken::Nothing),
            ("control: report {\"a\":{\"b\":1", Taken::Part),
            ("web: control: hello", Taken::Nothing),
            ("(mote) report {\"m\":1}", Taken::Report("{\"m\":1}".into())),
            ("control: }}\r", Taken::Report("{\"a\":{\"b\":1}}".into())),
            ("control: }}", Taken::Nothing),
            ("(control) report {}", Taken::Report("{}".into())),
        ] {
            assert_eq!(reports.take(line), taken, "{line}");
        }
    }

    #[test]
    fn what_may_become_a_report_is_held_back() {
        let mut reports = Reports::default();
        assert!(reports.may_begin("contr") && reports.may_begin("control: report {") && reports.may_begin(""));
        assert!(!reports.may_begin("control: x") && !reports.may_begin("~ #"));
        assert_eq!(reports.take("control: report {"), Taken::Part);
        assert!(reports.may_begin("control: x"));
    }
}
