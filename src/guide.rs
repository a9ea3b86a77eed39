//! Runs the programs of the README and of `docs/guide` as doctests.

macro_rules! doctests {
    ($($name:ident $file:literal;)*) => {$(
        #[doc = include_str!($file)]
        mod $name {}
    )*};
}

doctests! {
    readme "../README.md";
    model_your_rows "../docs/guide/model-your-rows.md";
    one_list_on_two_devices "../docs/guide/one-list-on-two-devices.md";
    invite_and_remove "../docs/guide/invite-and-remove.md";
    follow_changes "../docs/guide/follow-changes.md";
    test_a_partition "../docs/guide/test-a-partition.md";
    fuzz_your_merges "../docs/guide/fuzz-your-merges.md";
    back_up_and_restore "../docs/guide/back-up-and-restore.md";
}
