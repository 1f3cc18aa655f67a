// SPDX-License-Identifier: MIT OR Apache-2.0
//! What clients have said that they have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::StatusCode;
use oxtree_format::ObjectId;

use crate::api::fault::{Answer, Fault};
use crate::site::Site;

/// Objects in the lists of all pushes that are open, at the most.
const MAX_LISTED: usize = 1 << 20;

/// What clients have said that they have, by their pushes.
#[derive(Debug, Default)]
pub(crate) struct Lists(Mutex<HashMap<String, List>>);

#[derive(Debug)]
struct List {
    /// The repository's name.
    site: String,
    objects: Arc<Vec<ObjectId>>,
}

impl Lists {
    pub(super) fn note(&self, site: &Site, id: String, objects: Vec<ObjectId>) -> Answer<()> {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.retain(|id, list| list.site != site.name || site.pushes.get(id, 0).is_some());
        let listed: usize = lists.values().map(|list| list.objects.len()).sum();
        if listed + objects.len() > MAX_LISTED {
            let text = "too many pushes are open: try again later";
            return Err(Fault {
                retry_after: Some(30),
                ..Fault::new(StatusCode::SERVICE_UNAVAILABLE, text)
            });
        }
        let site = site.name.clone();
        let objects = Arc::new(objects);
        lists.insert(id, List { site, objects });
        Ok(())
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Vec<ObjectId>>> {
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.get(id).map(|list| Arc::clone(&list.objects))
    }

    pub(super) fn forget(&self, id: &str) {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.remove(id);
    }
}
