//! The crate `xen-abi` against the headers that it states the facts of: Xen's own, as C for arm64 understands them.
//!
//! Nothing of the headers is kept here. They are fetched from Debian, and a compiler is asked what every structure, every
//! field and every constant is there. What the crate declares is read from its source, so nothing is compared that was
//! forgotten in a list: what is not in one is a failure.

mod c;
mod constants;
mod source;
mod structures;

use mote_tools::setup::{self, Need};

use c::Question;

#[test]
fn every_structure_field_and_constant_is_what_c_makes_of_xen_s_headers() {
    let declared = source::declared();
    let questions = [structures::questions(&declared), constants::questions(&declared)].concat();
    let paths = setup::ensure(&[Need::XenHeaders, Need::CrossCompiler]).expect("Xen's headers and a compiler for them");
    let differences = differences(&questions, &c::answers(&questions, &paths.xen_headers()));
    assert!(differences.is_empty(), "Xen's headers say otherwise:\n{}", differences.join("\n"));
}

fn differences(questions: &[Question], answers: &[i64]) -> Vec<String> {
    let pairs = questions.iter().zip(answers);
    let different = pairs.filter(|(question, answer)| question.here != **answer);
    different.map(|(question, answer)| question.difference(*answer)).collect()
}

#[test]
fn a_field_that_moved_is_named_with_both_numbers() {
    let declared = source::declared();
    let mut questions = structures::questions(&declared);
    let paths = setup::ensure(&[Need::XenHeaders, Need::CrossCompiler]).expect("Xen's headers and a compiler for them");
    let offset =
        questions.iter_mut().find(|question| question.what == "grant_table::Map.gref: offset").expect("a field");
    offset.here += 4;
    let differences = differences(&questions, &c::answers(&questions, &paths.xen_headers()));
    assert_eq!(
        differences,
        ["grant_table::Map.gref: offset: 16 here, 12 in C (offsetof(struct gnttab_map_grant_ref, ref))"]
    );
}
