//! What the self-test found on a device, kept with it: a second session tests nothing again.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::op::Variant;

/// Whether a kernel's expected result is falsified, by the op's name and the variant, so that tests can make kernels fail.
pub type Fault = fn(&str, Variant) -> bool;

/// A device's self-test results.
#[derive(Debug, Default)]
pub(crate) struct SelfTestResults {
    /// Why a kernel is wrong, or `None` where it is right, by what was computed and how.
    pub known: Mutex<HashMap<String, Option<String>>>,
    pub fault: Mutex<Option<Fault>>,
}
