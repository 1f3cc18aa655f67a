// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which part of a tree is wanted.

/// What is wanted of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything.
    All,
    /// What these paths lead to, each as the names that are still to go.
    Paths(Vec<Vec<String>>),
}

impl Part {
    /// The part of the root that these absolute paths name; none for everything.
    pub(crate) fn of_root(paths: &[String]) -> Self {
        let split = |path: &String| -> Vec<String> {
            let names = path.split('/').filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        };
        let paths: Vec<Vec<String>> = paths.iter().map(split).collect();
        match paths.iter().any(Vec::is_empty) || paths.is_empty() {
            true => Self::All,
            false => Self::Paths(paths),
        }
    }

    /// What is wanted of the entry called `name`; [`None`] if nothing is.
    pub(crate) fn enter(&self, name: &str) -> Option<Self> {
        let Self::Paths(paths) = self else {
            return Some(Self::All);
        };
        let mut inside = Vec::new();
        for path in paths {
            match path.split_first() {
                Some((first, [])) if first == name => return Some(Self::All),
                Some((first, rest)) if first == name => inside.push(rest.to_vec()),
                _ => {}
            }
        }
        (!inside.is_empty()).then_some(Self::Paths(inside))
    }

    /// Whether a file of this name is wanted. One of which more is wanted than it can have is not.
    pub(crate) fn takes_file(&self, name: &str) -> bool {
        self.enter(name) == Some(Self::All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let part = |paths: &[&str]| {
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            Part::of_root(&paths)
        };
        assert_eq!(part(&[]), Part::All);
        assert_eq!(part(&["/a", "/"]), Part::All);
        let some = part(&["/usr/lib/x", "usr/bin/", "/etc"]);
        assert!(some.enter("var").is_none());
        assert!(some.takes_file("etc") && !some.takes_file("usr"));
        let usr = some.enter("usr").unwrap();
        assert_eq!(usr.enter("bin"), Some(Part::All));
        assert!(usr.enter("li").is_none());
        assert!(usr.enter("lib").unwrap().takes_file("x"));
    }
}
