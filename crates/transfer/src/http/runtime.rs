// SPDX-License-Identifier: MIT OR Apache-2.0
//! The threads on which the HTTP clients and servers of a transfer run.

use tokio::runtime::Runtime;

use crate::error::{Result, invalid};

pub(crate) fn runtime() -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).thread_name("fetch").enable_all();
    let started = builder.build();
    started.map_err(|error| invalid(format!("starting threads: {error}")))
}
