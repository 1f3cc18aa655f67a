// SPDX-License-Identifier: MIT OR Apache-2.0
//! The extended attributes of what is checked out.

use std::borrow::Cow;

use oxtree_format::Xattrs;

use super::walk::Checkout;
use crate::{Result, selinux};

impl Checkout<'_> {
    /// The attributes that something of this mode gets at `path`, of which the commit says that
    /// it has `xattrs`.
    pub(super) fn xattrs<'x>(
        &self,
        xattrs: &'x Xattrs,
        path: &str,
        mode: u32,
    ) -> Result<Cow<'x, Xattrs>> {
        const NONE: &Xattrs = &Xattrs::NONE;
        if self.repo.config().disable_xattrs {
            return Ok(Cow::Borrowed(NONE));
        }
        let own = match self.user {
            true => NONE,
            false => xattrs,
        };
        let Some(policy) = &self.options.sepolicy else {
            return Ok(Cow::Borrowed(own));
        };
        let prefix = self.options.sepolicy_prefix.trim_end_matches('/');
        let path = format!("{prefix}{path}");
        let path = match path.trim_end_matches('/') {
            "" => "/",
            path => path,
        };
        Ok(Cow::Owned(match policy.label(path, mode)? {
            Some(label) => selinux::labelled(own, label),
            None => selinux::unlabelled(own),
        }))
    }
}
