// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long operations say how far they are.

/// Hears how far an operation is. Called from any thread, and often: it has to be quick.
pub trait Progress: Sync {
    /// A step begins: what is done, in words ("Checking objects"), and how many units it has, if
    /// that is known.
    fn start(&self, what: &str, total: Option<u64>);

    /// So many more units of the step are done.
    fn advance(&self, units: u64);

    /// The step is over.
    fn finish(&self);
}

/// Tells nobody.
impl Progress for () {
    fn start(&self, _what: &str, _total: Option<u64>) {}

    fn advance(&self, _units: u64) {}

    fn finish(&self) {}
}
