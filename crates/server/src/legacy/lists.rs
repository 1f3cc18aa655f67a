// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lists of objects that clients of ostree-upload have sent, by push.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::StatusCode;
use oxtree_format::ObjectId;

use crate::answer::{Answer, Fault};
use crate::limits::ClientId;
use crate::served::Served;

/// Objects in the lists of all open pushes, and in those of one client: a list has at most 145,000. An object
/// takes 33 bytes.
const MAX_LISTED: usize = 2 << 20;
const MAX_OWN: usize = 512 << 10;

/// The lists of objects that clients have, by the ids of their pushes.
#[derive(Default)]
pub(crate) struct Lists(Mutex<HashMap<String, List>>);

struct List {
    served: Arc<Served>,
    client: ClientId,
    objects: Arc<Vec<ObjectId>>,
}

impl Lists {
    pub(super) fn note(
        &self,
        served: &Arc<Served>,
        client: ClientId,
        id: String,
        objects: Vec<ObjectId>,
    ) -> Answer<()> {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.retain(|id, list| list.served.pushes.get(id, 0).is_some());
        let (mut all, mut own) = (objects.len(), objects.len());
        for list in lists.values() {
            all += list.objects.len();
            own += if list.client == client {
                list.objects.len()
            } else {
                0
            };
        }
        if own > MAX_OWN || all > MAX_LISTED {
            let text = "too many pushes are open: try again later";
            return Err(Fault {
                retry_after: Some(30),
                ..Fault::new(StatusCode::SERVICE_UNAVAILABLE, text)
            });
        }
        let list = List {
            served: Arc::clone(served),
            client,
            objects: Arc::new(objects),
        };
        lists.insert(id, list);
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
