// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one pusher may do, named by `oxtree receive --identity NAME` in `authorized_keys`.

use std::collections::BTreeSet;

use oxtree_repo::refs::pattern::fits;
use oxtree_transfer::limits::parse_size;

use super::keys::{texts, words};
use crate::yaml::Value;

/// Something that a pusher may do. These are the names that tokens of `oxtree serve` have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Permission {
    /// Bring commits and set refs to them.
    Push,
    /// Move refs back or sideways.
    Force,
    /// Delete refs.
    Delete,
    /// Set refs to commits that are there already.
    Promote,
}

impl Permission {
    const ALL: [(&'static str, Self); 4] = [
        ("push", Self::Push),
        ("force", Self::Force),
        ("delete", Self::Delete),
        ("promote", Self::Promote),
    ];

    fn parse(word: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(name, _)| *name == word);
        found.map(|(_, permission)| *permission).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| name).join(", ");
            format!("allow: each item must be one of {names}, but found '{word}'")
        })
    }
}

/// What one pusher may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// How it is called.
    pub(crate) name: String,
    /// The refs it may write; [`None`] for all.
    pub(crate) refs: Option<Vec<RefPattern>>,
    /// It may write nothing at all.
    pub(crate) read_only: bool,
    /// It may only ask what a push would do.
    pub(crate) dry_run_only: bool,
    /// What it may do; [`None`]: push, as a token may that says nothing else.
    pub(crate) allow: Option<BTreeSet<Permission>>,
    /// Whether it may force, whatever `allow` and the repository say.
    pub(crate) allow_force: Option<bool>,
    /// What it may bring, where that is less than what the repository takes.
    pub(crate) limits: IdentityLimits,
}

/// Bounds like those of the group `receive` in the repository's config.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdentityLimits {
    /// Bytes of one file's content.
    pub(crate) max_object_size: Option<u64>,
    /// Bytes of a push over the wire.
    pub(crate) max_bytes: Option<u64>,
    /// Bytes that the objects of a push unpack to.
    pub(crate) max_unpacked_size: Option<u64>,
    /// Objects of a push.
    pub(crate) max_objects: Option<u64>,
    /// Refs of a push.
    pub(crate) max_refs: Option<u64>,
}

impl Identity {
    /// Whether it may do this; [`None`]: it says nothing of it.
    fn says(&self, permission: Permission) -> Option<bool> {
        self.allow.as_ref().map(|allow| allow.contains(&permission))
    }

    /// Whether it may bring commits.
    pub(crate) fn may_push(&self) -> bool {
        !self.read_only && self.says(Permission::Push).unwrap_or(true)
    }

    /// Whether it may set refs to commits that are there.
    pub(crate) fn may_promote(&self) -> bool {
        let promotes = !self.read_only && self.says(Permission::Promote).unwrap_or(false);
        promotes || self.may_push()
    }

    /// Whether it may move refs back or sideways, where the repository says this of it.
    pub(crate) fn may_force(&self, repo: Option<bool>) -> bool {
        let own = match self.says(Permission::Force) {
            Some(force) => force && repo != Some(false),
            None => repo == Some(true),
        };
        self.allow_force.unwrap_or(own)
    }

    /// Whether it may delete refs, where the repository allows that.
    pub(crate) fn may_delete(&self) -> bool {
        self.says(Permission::Delete).unwrap_or(false)
    }

    /// Whether it may write the ref.
    pub(crate) fn may_write(&self, name: &str) -> bool {
        let refs = self.refs.as_ref();
        self.may_promote() && refs.is_none_or(|all| all.iter().any(|one| one.matches(name)))
    }
}

/// Reads one entry of `identities`. The error begins with its name.
pub(super) fn parse(name: &str, value: &Value) -> Result<Identity, String> {
    let mut identity = Identity {
        name: name.to_owned(),
        ..Identity::default()
    };
    let entries = match value {
        Value::Null => Vec::new(),
        Value::Map(entries) => texts(name, entries)?,
        other => {
            return Err(format!(
                "{name} must be an instance of <class 'dict'>, but found <class '{}'>",
                other.python_type()
            ));
        }
    };
    for (key, value) in &entries {
        set(&mut identity, key, value).map_err(|error| format!("{name}.{error}"))?;
    }
    Ok(identity)
}

/// What is not understood is an error here: it would have been a restriction.
fn set(identity: &mut Identity, key: &str, value: &Value) -> Result<(), String> {
    let flag = || match value {
        Value::Bool(flag) => Ok(*flag),
        other => Err(format!(
            "{key} must be an instance of <class 'bool'>, but found <class '{}'>",
            other.python_type()
        )),
    };
    let limits = &mut identity.limits;
    let limit = match key {
        "refs" => {
            let Value::List(items) = value else {
                let found = value.python_type();
                return Err(format!(
                    "refs must be an instance of <class 'list'>, but found <class '{found}'>"
                ));
            };
            identity.refs = Some(words(key, items)?.into_iter().map(RefPattern).collect());
            return Ok(());
        }
        "allow" => {
            let Value::List(items) = value else {
                let found = value.python_type();
                return Err(format!(
                    "allow must be an instance of <class 'list'>, but found <class '{found}'>"
                ));
            };
            let words = words(key, items)?;
            let allow = words.iter().map(|word| Permission::parse(word));
            identity.allow = Some(allow.collect::<Result<_, _>>()?);
            return Ok(());
        }
        "read_only" => return flag().map(|flag| identity.read_only = flag),
        "dry_run_only" => return flag().map(|flag| identity.dry_run_only = flag),
        "allow_force" => return flag().map(|flag| identity.allow_force = Some(flag)),
        "max_object_size" => &mut limits.max_object_size,
        "max_bytes" => &mut limits.max_bytes,
        "max_unpacked_size" => &mut limits.max_unpacked_size,
        "max_objects" => &mut limits.max_objects,
        "max_refs" => &mut limits.max_refs,
        _ => return Err(format!("{key} is not a known key")),
    };
    let size = value.as_word().and_then(parse_size);
    let size = size.filter(|size| *size > 0).ok_or_else(|| {
        let found = value.shown();
        format!("{key} must be a number such as 500, 64K, 20M or 3G, but found '{found}'")
    })?;
    *limit = Some(size);
    Ok(())
}

/// A pattern for refs: `*` stands for any characters, slashes too, and `?` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefPattern(String);

impl RefPattern {
    /// The pattern itself.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn matches(&self, name: &str) -> bool {
        fits(&self.0, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    /// Each is what a token of the same permissions may do.
    #[test]
    fn permissions() {
        let read = |text: &str| parse("ci", &yaml::parse(text).unwrap()).unwrap();
        for (text, repo, force, delete) in [
            ("", None, false, false),
            ("", Some(true), true, false),
            ("", Some(false), false, false),
            ("{allow: [push]}", Some(true), false, false),
            ("{allow: [push, force]}", None, true, false),
            ("{allow: [push, force]}", Some(false), false, false),
            ("{allow: [push, delete]}", None, false, true),
            ("{allow_force: yes}", Some(false), true, false),
            ("{allow_force: no}", Some(true), false, false),
            (
                "{allow_force: no, allow: [push, force]}",
                None,
                false,
                false,
            ),
        ] {
            let who = read(text);
            let may = (who.may_force(repo), who.may_delete());
            assert_eq!(may, (force, delete), "{text}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, yes, no) in [
            ("main", &["main"][..], &["mains", "amain", ""][..]),
            ("app/*", &["app/x", "app/x/y/z", "app/"], &["app", "xapp/x"]),
            (
                "*/stable",
                &["a/stable", "a/b/stable"],
                &["stable", "a/stable/x"],
            ),
            ("a*b*c", &["abc", "aXbYc", "abbcc"], &["acb", "ab"]),
            ("v?", &["v1"], &["v", "v12"]),
            ("*", &["", "a/b"], &[]),
            ("", &[""], &["a"]),
            ("a.c[x]", &["a.c[x]"], &["abc[x]", "a.cx"]),
        ] {
            let pattern = RefPattern(pattern.to_owned());
            for name in yes {
                assert!(pattern.matches(name), "{pattern:?} {name}");
            }
            for name in no {
                assert!(!pattern.matches(name), "{pattern:?} {name}");
            }
        }
        let slow = RefPattern("*a".repeat(100) + "b");
        assert!(!slow.matches(&"a".repeat(5000)));
    }

    #[test]
    fn entries() {
        let read = |text: &str| parse("ci", &yaml::parse(text).unwrap());
        let identity = read(
            "{refs: [app/*, main], read_only: no, dry_run_only: yes, allow_force: no,
              max_object_size: 64K, max_bytes: 1000, max_unpacked_size: 1G, max_objects: 5, max_refs: 2}",
        )
        .unwrap();
        assert!(identity.may_write("main") && identity.may_write("app/a/b"));
        assert!(!identity.may_write("other"));
        assert!(identity.dry_run_only && identity.allow_force == Some(false));
        assert_eq!(identity.limits.max_object_size, Some(64 << 10));
        assert_eq!(identity.limits.max_refs, Some(2));
        assert!(read("").unwrap().may_write("anything"));
        assert!(!read("{read_only: yes}").unwrap().may_write("anything"));
        assert!(!read("{refs: []}").unwrap().may_write("anything"));
        let none = read("{allow: []}").unwrap();
        assert!(!none.may_write("anything") && !none.may_promote());
        let promotes = read("{allow: [promote]}").unwrap();
        assert!(promotes.may_write("anything") && !promotes.may_push());
        for (text, error) in [
            (
                "[]",
                "ci must be an instance of <class 'dict'>, but found <class 'list'>",
            ),
            (
                "{refs: main}",
                "ci.refs must be an instance of <class 'list'>, but found <class 'str'>",
            ),
            (
                "{refs: [[a]]}",
                "ci.refs: each item must be an instance of <class 'str'>, but found <class 'list'>",
            ),
            (
                "{read_only: 1}",
                "ci.read_only must be an instance of <class 'bool'>, but found <class 'int'>",
            ),
            (
                "{max_bytes: 0}",
                "ci.max_bytes must be a number such as 500, 64K, 20M or 3G, but found '0'",
            ),
            ("{ref: [a]}", "ci.ref is not a known key"),
            (
                "{allow: push}",
                "ci.allow must be an instance of <class 'list'>, but found <class 'str'>",
            ),
            (
                "{allow: [push, forse]}",
                "ci.allow: each item must be one of push, force, delete, promote, but found 'forse'",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), error);
        }
    }
}
