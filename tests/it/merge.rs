//! README: rows merge, and no merge of valid rows yields one that does not decode.

use proptest::prelude::*;

use crate::support::merging;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_merge_of_valid_rows_decodes(bytes in proptest::collection::vec(any::<u8>(), 64..600)) {
        merging::play(&bytes);
    }

    #[test]
    fn a_row_survives_its_value_and_the_values_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        merging::round_trip(&bytes);
    }
}

/// proptest once found 98 and zeros to fail: one device puts a row again and again, and no other has it.
#[test]
fn a_row_that_one_device_alone_puts_again_decodes_whatever_its_type() {
    for first in (0..16).chain([98]) {
        let mut bytes = [0; 64];
        bytes[0] = first;
        merging::play(&bytes);
    }
}
