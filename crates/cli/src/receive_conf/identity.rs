// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one pusher may do, named by `oxtree receive --identity NAME` in `authorized_keys`.

use oxtree_repo::refs::pattern::fits;
use oxtree_transfer::limits::parse_size;

use super::keys::{texts, words};
use super::yaml::Value;

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
    /// Whether it may force; [`None`]: as the repository says.
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
    /// Whether it may write the ref.
    pub(crate) fn may_write(&self, name: &str) -> bool {
        let refs = self.refs.as_ref();
        !self.read_only && refs.is_none_or(|all| all.iter().any(|one| one.matches(name)))
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
    use super::super::yaml;
    use super::*;

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
        ] {
            assert_eq!(read(text).unwrap_err(), error);
        }
    }
}
